/* Classifies handwritten digits with a network that gradc exported, and trains it on.
 *
 * Usage: digits FILE EPOCHS SEED
 * FILE has the images and the classes, as digits.py writes them. Needs digits.h and the library.
 */
#include "digits.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { SAMPLES = 1797, PIXELS = 784, CLASSES = 10 };

static void stop(const char *why) {
    fprintf(stderr, "digits: %s\n", why);
    exit(1);
}

static void check(int64_t status) {
    if (status) stop(digits_message(status));
}

static double *numbers(size_t count) {
    double *found = malloc(count * sizeof(double));
    if (!found) stop("out of memory");
    return found;
}

/* How many images the network takes for what they are. */
static int classified(const void *state, const double *x, const double *t, void *workspace) {
    int right = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int64_t found;
        check(digits_classify(state, x + i * PIXELS, &found, workspace));
        right += t[i * CLASSES + found] == 1.0;
    }
    return right;
}

int main(int argc, char **argv) {
    if (argc != 4) stop("usage: digits FILE EPOCHS SEED");
    int epochs = atoi(argv[2]);
    uint64_t seed = strtoull(argv[3], NULL, 10);
    double *x = numbers(SAMPLES * PIXELS), *t = numbers(SAMPLES * CLASSES);
    FILE *file = fopen(argv[1], "rb");
    if (!file || fread(x, sizeof(double), SAMPLES * PIXELS, file) != SAMPLES * PIXELS ||
        fread(t, sizeof(double), SAMPLES * CLASSES, file) != SAMPLES * CLASSES)
        stop("the file cannot be read");
    fclose(file);

    void *state = malloc(DIGITS_STATE_BYTES), *workspace = malloc(DIGITS_TRAIN_WORKSPACE);
    void *small = malloc(DIGITS_CLASSIFY_WORKSPACE + 1);
    if (!state || !workspace || !small) stop("out of memory");
    check(digits_init(state, NULL));
    printf("%d of %d classified\n", classified(state, x, t, small), SAMPLES);
    for (int epoch = 0; epoch < epochs; epoch++) {
        double mean, last;
        check(digits_train(state, x, t, seed, DIGITS_STEPS_OF_EPOCH, &mean, &last, workspace));
        printf("epoch %d: loss %.6f = %a\n", epoch, mean, mean);
    }
    printf("%d of %d classified\n", classified(state, x, t, small), SAMPLES);
    free(x), free(t), free(state), free(workspace), free(small);
    return 0;
}
