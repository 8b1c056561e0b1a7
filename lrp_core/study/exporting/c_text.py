"""The text of the C files of an export: each layer as a function, and what stands around them."""

from __future__ import annotations

PIXELS = "pixels in [0, 1]: divide bytes by 255"
RAW = "the numbers of the data; their mean and scale are taken off here"
NUMBERS = "the numbers of the data"

HEAD = """\
/* A neural network in C99, with {weights} weights. It allocates nothing, and its memory is static: one call at a time.

   network_run takes all NETWORK_INPUTS numbers of a row, network_run_kept the NETWORK_KEPT ones that are read, in the
   order of card.json ("kept_pixels"). Both take {takes}.
   Both write NETWORK_OUTPUTS numbers: {gives}. */

#ifndef NETWORK_H
#define NETWORK_H

#include <math.h>

#define NETWORK_INPUTS {inputs}L
#define NETWORK_KEPT {kept}L
#define NETWORK_OUTPUTS {outputs}L

typedef {output} network_output;
typedef {weight} network_weight;

static float network_memory[2][{memory}];
"""

WINDOW = """
typedef struct {
    long channels, height, width, maps, rows, columns, kernel_height, kernel_width, stride_down, stride_across;
    long padding_above, padding_left, dilation_down, dilation_across, groups, counts_padding, divisor;
} network_window;
"""

SLIDING = ("convolution", "max_pool", "average_pool")
"""The functions that take a window."""

FUNCTIONS = {
    "dense": """
static void network_dense(const float *x, float *y, const network_weight *weights, @STEP@const float *bias, long inputs,
                          long outputs)
{
    for (long o = 0; o < outputs; o++) {
        float sum = 0.0f;
        for (long i = 0; i < inputs; i++)
            sum += (float)weights[o * inputs + i] * x[i];
        y[o] = sum@TIMES@ + bias[o];
    }
}
""",
    "convolution": """
static void network_convolution(const float *x, float *y, const network_weight *weights, @STEP@const float *bias,
                                const network_window *w)
{
    long deep = w->channels / w->groups, each = w->maps / w->groups;
    for (long o = 0; o < w->maps; o++)
        for (long row = 0; row < w->rows; row++)
            for (long column = 0; column < w->columns; column++) {
                float sum = 0.0f;
                const network_weight *kernel = weights + o * deep * w->kernel_height * w->kernel_width;
                for (long c = 0; c < deep; c++)
                    for (long i = 0; i < w->kernel_height; i++)
                        for (long j = 0; j < w->kernel_width; j++, kernel++) {
                            long down = row * w->stride_down + i * w->dilation_down - w->padding_above;
                            long across = column * w->stride_across + j * w->dilation_across - w->padding_left;
                            if (down < 0 || down >= w->height || across < 0 || across >= w->width)
                                continue;
                            sum += (float)*kernel * x[((o / each * deep + c) * w->height + down) * w->width + across];
                        }
                *y++ = sum@TIMES@ + bias[o];
            }
}
""",
    "relu": """
static void network_relu(const float *x, float *y, long inputs, long outputs)
{
    for (long i = 0; i < outputs; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}
""",
    "affine": """
static void network_affine(const float *x, float *y, const float *scale, const float *shift, long channels, long size)
{
    for (long c = 0; c < channels; c++)
        for (long i = 0; i < size; i++)
            *y++ = *x++ * scale[c] + shift[c];
}
""",
    "scatter": """
static void network_scatter(const float *x, float *y, const float *constant, const long *places, long inputs,
                            long outputs)
{
    for (long i = 0; i < outputs; i++)
        y[i] = constant[i];
    for (long i = 0; i < inputs; i++)
        y[places[i]] = x[i];
}
""",
    "gather": """
static void network_gather(const float *x, float *y, const long *places, long inputs, long outputs)
{
    for (long i = 0; i < outputs; i++)
        y[i] = x[places[i]];
}
""",
    "max_pool": """
static void network_max_pool(const float *x, float *y, const network_window *w)
{
    for (long c = 0; c < w->maps; c++, x += w->height * w->width)
        for (long row = 0; row < w->rows; row++)
            for (long column = 0; column < w->columns; column++) {
                float largest = -INFINITY;
                for (long i = 0; i < w->kernel_height; i++)
                    for (long j = 0; j < w->kernel_width; j++) {
                        long down = row * w->stride_down + i * w->dilation_down - w->padding_above;
                        long across = column * w->stride_across + j * w->dilation_across - w->padding_left;
                        if (down < 0 || down >= w->height || across < 0 || across >= w->width)
                            continue;
                        if (x[down * w->width + across] > largest)
                            largest = x[down * w->width + across];
                    }
                *y++ = largest;
            }
}
""",
    "average_pool": """
static void network_average_pool(const float *x, float *y, const network_window *w)
{
    for (long c = 0; c < w->maps; c++, x += w->height * w->width)
        for (long row = 0; row < w->rows; row++)
            for (long column = 0; column < w->columns; column++) {
                long top = row * w->stride_down - w->padding_above, left = column * w->stride_across - w->padding_left;
                long bottom = top + w->kernel_height, right = left + w->kernel_width;
                if (bottom > w->height + w->padding_above)
                    bottom = w->height + w->padding_above;
                if (right > w->width + w->padding_left)
                    right = w->width + w->padding_left;
                long padded = (bottom - top) * (right - left), counted = 0;
                float sum = 0.0f;
                for (long i = top < 0 ? 0 : top; i < bottom && i < w->height; i++)
                    for (long j = left < 0 ? 0 : left; j < right && j < w->width; j++, counted++)
                        sum += x[i * w->width + j];
                *y++ = sum / (float)(w->divisor ? w->divisor : w->counts_padding ? padded : counted);
            }
}
""",
    "adaptive_pool": """
static void network_adaptive_pool(const float *x, float *y, long channels, long height, long width, long rows,
                                  long columns)
{
    for (long c = 0; c < channels; c++, x += height * width)
        for (long row = 0; row < rows; row++)
            for (long column = 0; column < columns; column++) {
                long bottom = ((row + 1) * height + rows - 1) / rows, counted = 0;
                long right = ((column + 1) * width + columns - 1) / columns;
                float sum = 0.0f;
                for (long i = row * height / rows; i < bottom; i++)
                    for (long j = column * width / columns; j < right; j++, counted++)
                        sum += x[i * width + j];
                *y++ = sum / (float)counted;
            }
}
""",
}
"""What each step calls. Weights of one byte are multiplied by the `step` of their output."""

TAIL = """
static inline void network_forward(network_output *outputs)
{{
{calls}    for (long i = 0; i < NETWORK_OUTPUTS; i++)
        outputs[i] = {give};
}}

static inline void network_run_kept(const float *inputs, network_output *outputs)
{{
    for (long i = 0; i < NETWORK_KEPT; i++)
        network_memory[0][i] = {take_kept};
    network_forward(outputs);
}}

static inline void network_run(const float *inputs, network_output *outputs)
{{
    for (long i = 0; i < NETWORK_KEPT; i++)
        network_memory[0][i] = {take};
    network_forward(outputs);
}}

#endif
"""

EXAMPLE = """\
/* Reads rows of numbers from stdin and prints the outputs of each: NETWORK_INPUTS numbers a row, or with the argument
   "kept" the NETWORK_KEPT ones that the network reads.

   cc -std=c99 -O2 example.c -o example -lm && ./example < rows.txt */

#include <stdio.h>
#include <string.h>

#include "network.h"

static float inputs[NETWORK_INPUTS];
static network_output outputs[NETWORK_OUTPUTS];

int main(int argc, char **argv)
{
    int kept = argc > 1 && strcmp(argv[1], "kept") == 0;
    long count = 0, width = kept ? NETWORK_KEPT : NETWORK_INPUTS;
    int found;

    while ((found = scanf("%f", &inputs[count])) == 1) {
        if (++count < width)
            continue;
        count = 0;
        if (kept)
            network_run_kept(inputs, outputs);
        else
            network_run(inputs, outputs);
        for (long o = 0; o < NETWORK_OUTPUTS; o++)
            printf("%.17g%c", (double)outputs[o], o + 1 < NETWORK_OUTPUTS ? ' ' : '\\n');
    }
    if (found == 0 || count > 0) {
        fprintf(stderr, "example: a row has %ld numbers, and the last one is short or holds something else\\n", width);
        return 2;
    }
    return 0;
}
"""
