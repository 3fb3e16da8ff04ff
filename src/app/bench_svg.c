// The charts of quern bench as one self-contained SVG document: for each model, decode by scenario with a line at the ceiling,
// tokens/s against the number at once, and prefill. Horizontal bars, written by hand into a buffer.
#include <math.h>
#include <string.h>

#include "app/bench.h"
#include "base/utf8.h"

enum { MAX_BARS = 16, MAX_TITLE = 96 };
enum {
    PAGE = 1040,
    MARGIN = 32,
    GAP = 40, // between the columns
    COLUMN = (PAGE - 2 * MARGIN - GAP) / 2,
    LABEL = 124,
    ROOM_FOR_VALUE = 58,
    BAR = 15,
    STEP = 23,         // from one bar to the next
    TITLE_HEIGHT = 40, // title and the line's legend
    AXIS_HEIGHT = 38,
};
// A ceiling farther away than that many times the longest bar is told, not drawn.
#define FAR_AWAY 4.0

#define INK "#1f2937"
#define FAINT "#6b7280"
#define GRID "#e5e7eb"
#define ALARM "#be123c"
static const char *const STRATEGY_COLOURS[] = {"#2563eb", "#0d9488", "#7c3aed", "#d97706",
                                               "#64748b"};
static const char BATCH_COLOUR[] = "#2563eb", PREFILL_COLOUR[] = "#059669";

typedef struct {
    char label[64];
    double value;
    const char *colour;
    bool cut, apart; // apart: a gap before it
} bar;

typedef struct {
    char title[MAX_TITLE];
    const char *note; // beneath the title, where no ceiling is told
    double ceiling;   // 0: no line
    bar bars[MAX_BARS];
    int n;
} chart;

/* ---- text ---- */

// Any bytes as XML text: what is no UTF-8, or no character of XML, becomes "?".
static void put_escaped(qn_buffer *out, const char *s)
{
    for (size_t left = strlen(s); left;) {
        uint32_t code;
        int n = qn_utf8_decode(s, left, &code);
        const char *entity = *s == '&' ? "&amp;" : *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : NULL;
        if (entity)
            qn_buffer_text(out, entity);
        else if (n && code >= 0x20 && code != 0x7f && code != 0xfffe && code != 0xffff)
            qn_buffer_append(out, s, (size_t)n);
        else
            qn_buffer_text(out, "?");
        s += n ? n : 1;
        left -= (size_t)(n ? n : 1);
    }
}

// class: of the style sheet at the top.
static void put_text(qn_buffer *out, double x, double y, const char *class, const char *text)
{
    qn_buffer_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    put_escaped(out, text);
    qn_buffer_text(out, "</text>\n");
}

// Three digits or all before the point.
static void format_value(double v, char *text, size_t n)
{
    int decimals = v >= 100 ? 0 : v >= 10 ? 1 : 2;
    snprintf(text, n, "%.*f", decimals, v);
}

/* ---- one chart ---- */

// 1, 2 or 5 times a power of ten: about four of them make `most`.
static double tick_of(double most)
{
    double power = pow(10, floor(log10(most / 4))), times = most / 4 / power;
    return power * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static double longest(const chart *c)
{
    double most = 0;
    for (int i = 0; i < c->n; i++)
        if (c->bars[i].value > most) most = c->bars[i].value;
    return most > 0 ? most : 1;
}

static bool shows_ceiling(const chart *c)
{
    return c->ceiling > 0 && c->ceiling <= FAR_AWAY * longest(c);
}

static double height_of(const chart *c)
{
    double height = TITLE_HEIGHT + c->n * STEP + AXIS_HEIGHT;
    for (int i = 0; i < c->n; i++)
        if (c->bars[i].apart) height += STEP / 3.0;
    return height;
}

static void draw_grid(qn_buffer *out, double x, double top, double bottom, double scale,
                      double most)
{
    double tick = tick_of(most);
    for (int i = 0; tick * i <= most * 1.0001; i++) {
        char text[32];
        snprintf(text, sizeof text, "%g", tick * i);
        double at = x + tick * i * scale;
        qn_buffer_printf(out,
                         "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
                         at, top, at, bottom, i ? GRID : FAINT);
        put_text(out, at, bottom + 15, "tick", text);
    }
}

static void draw_bar(qn_buffer *out, const bar *b, double x, double y, double scale)
{
    char value[32], text[48];
    double width = b->value * scale;
    put_text(out, x - 8, y + BAR - 3, "label", b->label);
    qn_buffer_printf(out,
                     "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\" "
                     "fill=\"%s\"/>\n",
                     x, y, width, BAR, b->colour);
    format_value(b->value, value, sizeof value);
    snprintf(text, sizeof text, "%s%s", b->value > 0 ? value : "not measured", b->cut ? " *" : "");
    put_text(out, x + width + 6, y + BAR - 3, "value", text);
}

static void draw_ceiling(qn_buffer *out, const chart *c, double x, double y, double bottom,
                         double at)
{
    char text[MAX_TITLE], value[32];
    format_value(c->ceiling, value, sizeof value);
    bool shown = shows_ceiling(c);
    snprintf(text, sizeof text, "read ceiling of one sequence: %s%s", value,
             shown ? "" : " (beyond the chart)");
    put_text(out, x, y + 32, "legend", text);
    if (shown)
        qn_buffer_printf(out,
                         "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
                         "stroke-width=\"1.5\" stroke-dasharray=\"5 3\"/>\n",
                         at, y + TITLE_HEIGHT, at, bottom, ALARM);
}

// Draws at (x, y), COLUMN wide; returns its height, 0 where it has no bars.
static double draw(qn_buffer *out, const chart *c, double x, double y)
{
    if (!c->n) return 0;
    double height = height_of(c), left = x + LABEL, bottom = y + height - AXIS_HEIGHT;
    double most = longest(c);
    if (shows_ceiling(c) && c->ceiling > most) most = c->ceiling;
    double scale = (COLUMN - LABEL - ROOM_FOR_VALUE) / most, at = y + TITLE_HEIGHT + 4;
    put_text(out, x, y + 14, "title", c->title);
    draw_grid(out, left, y + TITLE_HEIGHT, bottom, scale, most);
    if (c->note) put_text(out, x, y + 32, "note", c->note);
    if (c->ceiling > 0) draw_ceiling(out, c, x, y, bottom, left + c->ceiling * scale);
    for (int i = 0; i < c->n; i++) {
        if (c->bars[i].apart) at += STEP / 3.0;
        draw_bar(out, &c->bars[i], left, at, scale);
        at += STEP;
    }
    return height;
}

/* ---- a model ---- */

// What follows the last slash of "ORG/NAME" or a path.
static const char *base_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash && slash[1] ? slash + 1 : name;
}

static bar *add(chart *c, const char *label, const qn_bench_row *r, const char *colour)
{
    bar *b = &c->bars[c->n++];
    *b = (bar){.value = r->tokens_per_second, .colour = colour, .cut = r->cut};
    snprintf(b->label, sizeof b->label, "%s", label);
    return b;
}

static void fill_decode(const qn_bench *b, const qn_bench_model *m, chart *c)
{
    *c = (chart){.title = "Decode by scenario, tokens/s", .ceiling = qn_bench_ceiling_tokens(b, m)};
    for (int i = 0; i < m->n_done && c->n < MAX_BARS; i++) {
        const qn_bench_row *r = &m->rows[i];
        if (r->group > QN_BENCH_LONG) continue;
        bar *added = add(c, r->name, r, STRATEGY_COLOURS[r->strategy]);
        added->apart = i > 0 && r->group != m->rows[i - 1].group;
    }
}

static void fill_batch(const qn_bench_model *m, chart *c)
{
    *c = (chart){.title = "Decode by number at once, tokens/s of all together",
                 .note = "128 new tokens each"};
    for (int i = 0; i < m->n_done && c->n < MAX_BARS; i++) {
        const qn_bench_row *r = &m->rows[i];
        char label[32];
        if (r->group != QN_BENCH_BATCH) continue;
        snprintf(label, sizeof label, "%d at once%s", r->n_at_once,
                 r->prompts_included ? " †" : "");
        if (r->prompts_included) c->note = "128 new tokens each; † prompts of others included";
        add(c, label, r, BATCH_COLOUR);
    }
}

static void fill_prefill(const qn_bench_model *m, chart *c)
{
    *c = (chart){.title = "Prefill, prompt tokens/s",
                 .note = "one prompt, the fastest of up to three"};
    for (int i = 0; i < m->n_done && c->n < MAX_BARS; i++) {
        const qn_bench_row *r = &m->rows[i];
        char label[32];
        snprintf(label, sizeof label, "%d tokens", r->n_prompt);
        if (r->group == QN_BENCH_PREFILL) add(c, label, r, PREFILL_COLOUR);
    }
}

static double draw_model(qn_buffer *out, const qn_bench *b, const qn_bench_model *m, double y)
{
    chart decode, batch, prefill;
    char text[200], parameters[40];
    if (!m->n_done) return 0;
    qn_bench_count_text((double)m->info.n_parameters, parameters, sizeof parameters);
    snprintf(text, sizeof text, "%.100s: %s parameters, %s", base_name(m->name), parameters,
             m->dtype);
    put_text(out, MARGIN, y + 16, "model", text);
    fill_decode(b, m, &decode);
    fill_batch(m, &batch);
    fill_prefill(m, &prefill);
    double top = y + 36, right = decode.n ? MARGIN + COLUMN + GAP : MARGIN;
    double left_height = draw(out, &decode, MARGIN, top);
    double right_height = draw(out, &batch, right, top);
    // Where there is no decode, the two others stand side by side.
    if (decode.n)
        right_height += draw(out, &prefill, right, top + right_height);
    else
        left_height = draw(out, &prefill, batch.n ? MARGIN + COLUMN + GAP : MARGIN, top);
    return 36 + (left_height > right_height ? left_height : right_height) + 20;
}

static double draw_pair(qn_buffer *out, const qn_bench *b, double y)
{
    chart c = {.title = "Alone, and beside the other model, loaded and idle, tokens/s",
               .note = "greedy, 150 new tokens, the fastest of up to three"};
    for (int i = 0; i < b->n_models; i++) {
        const qn_bench_model *m = &b->models[i];
        char label[64];
        snprintf(label, sizeof label, "%.14s alone", base_name(m->name));
        add(&c, label, &m->alone, STRATEGY_COLOURS[0])->apart = i > 0;
        add(&c, "beside", &m->beside, STRATEGY_COLOURS[1]);
    }
    return draw(out, &c, MARGIN, y);
}

/* ---- the document ---- */

static bool any_cut(const qn_bench *b)
{
    for (int i = 0; i < b->n_models; i++)
        for (int j = 0; j < b->models[i].n_done; j++)
            if (b->models[i].rows[j].cut) return true;
    return b->has_pair && (b->models[0].alone.cut || b->models[0].beside.cut ||
                           b->models[1].alone.cut || b->models[1].beside.cut);
}

static double draw_all(qn_buffer *out, const qn_bench *b)
{
    char text[200];
    double y = 104;
    put_text(out, MARGIN, 46, "head", "quern bench");
    snprintf(text, sizeof text, "%s (%s), reads at most %.1f GB/s, measured in this run%s",
             b->device.device, b->device.backend, b->ceiling * 1e-9,
             any_cut(b) ? "; * cut by time" : "");
    put_text(out, MARGIN, 70, "sub", text);
    for (int i = 0; i < b->n_models; i++)
        y += draw_model(out, b, &b->models[i], y);
    if (b->has_pair) y += draw_pair(out, b, y);
    return y + MARGIN / 2.0;
}

static const char STYLE[] =
    "<style>\n"
    "text{font-family:-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif;"
    "font-size:12px;fill:" INK "}\n"
    ".head{font-size:22px;font-weight:600}\n"
    ".sub{font-size:13px;fill:" FAINT "}\n"
    ".model{font-size:16px;font-weight:600}\n"
    ".title{font-size:13px;font-weight:600}\n"
    ".legend{font-size:11px;fill:" ALARM "}\n"
    ".note{font-size:11px;fill:" FAINT "}\n"
    ".label{text-anchor:end}\n"
    ".tick{font-size:10px;text-anchor:middle;fill:" FAINT "}\n"
    ".value{font-size:11px;paint-order:stroke;stroke:#fff;stroke-width:3px}\n"
    "</style>\n";

void qn_bench_svg(const qn_bench *b, qn_buffer *out)
{
    qn_buffer body = QN_BUFFER_INIT;
    double height = draw_all(&body, b);
    qn_buffer_printf(out,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "
                     "viewBox=\"0 0 %d %.0f\">\n<title>quern bench</title>\n",
                     PAGE, height, PAGE, height);
    qn_buffer_text(out, STYLE);
    qn_buffer_printf(out, "<rect width=\"%d\" height=\"%.0f\" fill=\"#fff\"/>\n", PAGE, height);
    if (body.length) qn_buffer_append(out, body.data, body.length);
    qn_buffer_text(out, "</svg>\n");
    if (body.failed) out->failed = true;
    qn_buffer_free(&body);
}
