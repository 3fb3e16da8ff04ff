"""A hub for tests: the endpoints that downloads need, as huggingface.co has them, with faults on demand.

GET  /api/models/ORG/REPO/revision/REV   the files, with sizes and hashes (?blobs=true)
GET  /ORG/REPO/resolve/REV/PATH          small files at once; those in LFS by a redirect to the CDN, which is another origin

A fault is a function of the handler and the content; it answers instead, once, and the next request gets the next fault.
"""

import collections
import hashlib
import http.server
import json
import socket
import threading
import urllib.parse

LARGE = 1 << 12  # from here on a file is in LFS


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Zeros:
    """A large file that takes no memory."""

    def __init__(self, n):
        self.n = n
        h = hashlib.sha256()
        for _ in range(n >> 20):
            h.update(bytes(1 << 20))
        self.sha256 = h.hexdigest()

    def __len__(self):
        return self.n

    def __getitem__(self, part):
        return Zeros.__new__(Zeros)._init(len(range(*part.indices(self.n))))

    def _init(self, n):
        self.n = n
        return self


class Repository:
    def __init__(self, files, commit=None, gated=False, token=None, refs=()):
        self.files, self.gated, self.token, self.refs = dict(files), gated, token, refs
        self.commit = commit or hashlib.sha1(repr([(path, self.hash_of(path)) for path in sorted(files)]).encode()).hexdigest()
        self.listing = None  # instead of the true one

    def hash_of(self, path):
        data = self.files[path]
        if isinstance(data, Zeros):
            return data.sha256
        return hashlib.sha256(data).hexdigest() if len(data) >= LARGE else git_hash(data)

    def list(self):
        siblings = []
        for path, data in self.files.items():
            entry = {"rfilename": path, "size": len(data), "blobId": self.hash_of(path)[:40]}
            if len(data) >= LARGE:
                entry["lfs"] = {"sha256": self.hash_of(path), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        return {"id": "x", "modelId": "x", "sha": self.commit, "private": False, "gated": self.gated, "downloads": 0, "likes": 0,
                "tags": [], "siblings": siblings}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, data=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(data)))
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.write(data)

    def write(self, data):
        if isinstance(data, Zeros):
            for _ in range(data.n >> 20):
                self.wfile.write(bytes(1 << 20))
        else:
            self.wfile.write(data)

    def cut(self):
        """The connection is gone."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def content(self, data, etag, **headers):
        """A file, with ranges."""
        start, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if start and condition in (None, etag):
            at = int(start.removeprefix("bytes=").split("-")[0])
            if at >= len(data):
                self.send(416, Content_Range=f"bytes */{len(data)}")
                return
            self.send(206, data[at:], ETag=etag, Content_Range=f"bytes {at}-{len(data) - 1}/{len(data)}", **headers)
        else:
            self.send(200, data, ETag=etag, Accept_Ranges="bytes", **headers)

    def handle_one(self):
        hub = self.server.hub
        url = urllib.parse.urlsplit(self.path)
        hub.requests.append(Request(self.command, url.path, url.query, dict(self.headers.items()), self.server.server_port))
        faults = hub.faults[url.path]
        if faults and self.command == "GET":
            faults.popleft()(self)
        elif url.path.startswith("/api/models/"):
            self.api(hub, url.path.split("/"))
        elif url.path.startswith("/cdn/"):
            sha = url.path.split("/")[2]
            self.content(hub.blob(sha), f'"cdn-{sha[:8]}"')
        else:
            self.resolve(hub, url.path.split("/"))

    do_GET = do_HEAD = handle_one

    def refuse(self, repo):
        """True where the request may not see the repository."""
        if repo is None or (repo.token and self.headers.get("Authorization") != f"Bearer {repo.token}"):
            if repo and repo.gated:
                self.send(403, X_Error_Code="GatedRepo", X_Error_Message="Access to it is restricted.")
            else:
                self.send(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            return True
        return False

    def api(self, hub, parts):
        repo = hub.repositories.get("/".join(parts[3:5]))
        if self.refuse(repo):
            return
        revision = urllib.parse.unquote("/".join(parts[6:])) or "main"
        if revision not in ("main", repo.commit, *repo.refs):
            self.send(404, X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
            return
        listing = repo.list() if repo.listing is None else repo.listing
        self.send(200, listing if isinstance(listing, bytes) else json.dumps(listing).encode(), Content_Type="application/json")

    def resolve(self, hub, parts):
        repo = hub.repositories.get("/".join(parts[1:3]))
        if self.refuse(repo):
            return
        path = urllib.parse.unquote("/".join(parts[5:]))
        data = repo.files.get(path)
        if data is None:
            self.send(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
        elif len(data) >= LARGE:
            sha = repo.hash_of(path)
            self.send(302, Location=f"{hub.cdn_url}/cdn/{sha}?signed=1", X_Repo_Commit=repo.commit, X_Linked_ETag=f'"{sha}"',
                      X_Linked_Size=str(len(data)))
        else:
            self.content(data, f'"{repo.hash_of(path)}"', X_Repo_Commit=repo.commit)


Request = collections.namedtuple("Request", "method path query headers port")


class Hub:
    def __init__(self):
        self.repositories, self.requests = {}, []
        self.faults = collections.defaultdict(collections.deque)
        self.servers = []
        self.url, self.cdn_url = self._serve(), self._serve()

    def _serve(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.hub = self
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, name, files, **options):
        self.repositories[name] = Repository(files, **options)
        return self.repositories[name]

    def blob(self, sha):
        for repo in self.repositories.values():
            for path, data in repo.files.items():
                if len(data) >= LARGE and repo.hash_of(path) == sha:
                    return data
        raise KeyError(sha)

    def fail(self, path, *faults):
        """Faults of the next GETs of a path of the server (or of the CDN)."""
        self.faults[path].extend(faults)

    def gets(self, contains=""):
        return [r for r in self.requests if r.method == "GET" and contains in r.path]
