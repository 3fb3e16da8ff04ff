// Runs a fuzz target on files, for compilers without libFuzzer: link this with fuzz_<name>.c and name the inputs.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        size_t n = 0, capacity = 1 << 16;
        uint8_t *data = malloc(capacity);
        if (!file || !data) return fprintf(stderr, "%s: cannot read\n", argv[i]), 1;
        for (size_t got; (got = fread(data + n, 1, capacity - n, file)) > 0;) {
            n += got;
            if (n == capacity && !(data = realloc(data, capacity *= 2))) return 1;
        }
        fclose(file);
        LLVMFuzzerTestOneInput(data, n);
        free(data);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
