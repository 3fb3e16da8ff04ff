// The `quern` command: the table of its commands.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app/app.h"

static const qn_command COMMANDS[] = {
    {"serve", qn_app_serve, "serve models over REST, SSE and WebSocket"},
    {"run", qn_app_run, "answer one prompt"},
    {"chat", qn_app_chat, "talk to a model in the terminal"},
    {"pull", qn_app_pull, "download a model from the Hugging Face hub"},
    {"inspect", qn_app_inspect, "what a model is: architecture, parameters, tensors, tokenizer"},
    {"formats", qn_app_formats, "what loads: containers, architectures and tensor types"},
    {"quantize", qn_app_quantize, "write a model as one GGUF file, smaller"},
    {"eval", qn_app_eval, "perplexity on a text, and how far a model is from another"},
    {"tokenize", qn_app_tokenize, "text to token ids"},
    {"detokenize", qn_app_detokenize, "token ids to text"},
    {"template", qn_app_template, "the prompt that a chat renders to"},
    {"logits", qn_app_logits, "the logits of a token sequence, as .npy"},
    {"selftest", qn_app_selftest,
     "compare a backend's operations with plain C, as a page to paste"},
    {"bench", qn_app_bench, "how fast a model, or a shape with random weights, runs here"},
};
enum { N_COMMANDS = sizeof COMMANDS / sizeof *COMMANDS };

int qn_app_fail(const quern_error *e)
{
    fprintf(stderr, "quern: %s\n", *e->message ? e->message : quern_code_name(e->code));
    return QN_EXIT_FAILED;
}

static void print_usage(FILE *to)
{
    fprintf(to, "quern %s: serves Qwen models\n\nusage: quern COMMAND [arguments]\n\n",
            quern_version());
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-11s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    fprintf(to,
            "\nquern COMMAND --help tells a command's options. MODEL is a directory, a .gguf file "
            "(the first of a\nsplit), or a name that is sought in ./models, $QUERN_MODELS and the "
            "Hugging Face cache.\n");
}

static int run_command(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return QN_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version")) {
        printf("quern %s\n", quern_version());
        return QN_EXIT_DONE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_usage(stdout);
        return QN_EXIT_DONE;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, COMMANDS[i].name)) return COMMANDS[i].run(argc - 1, argv + 1);
    fprintf(stderr, "quern: unknown command \"%s\" (quern --help lists them)\n", name);
    return QN_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    int rc = run_command(argc, argv);
    bool written = !fflush(stdout) && !ferror(stdout);
    if (written || rc != QN_EXIT_DONE) return rc;
    fprintf(stderr, "quern: standard output: cannot write: %s\n", strerror(errno));
    return QN_EXIT_FAILED;
}
