// The arithmetic of OpenCV's bilinear interpolation, so that a GPU gives the CPU's numbers bit for bit.
//
// cv2.resize, INTER_LINEAR. Pixel i of a side of n pixels that becomes one of m lies at (i + 0.5) / (m / n) - 0.5 in the
// source, computed in double and rounded to float. Its floor is the first of two pixels, the rest f the weight of the
// second. Columns beyond an end are the end's alone; of rows beyond it both are the end's, with their weights. Then
//   uint8    weights are rint(2048 (1 - f)) and rint(2048 f); a row is left * w0 + right * w1, and the result
//            (((w0 * (upper >> 4)) >> 16) + ((w1 * (lower >> 4)) >> 16) + 2) >> 2
//   float32  left * (1 - f) + right * f, each step rounded, and so for upper and lower. That is OpenCV's own. On x86 it
//            gives the work to Intel's IPP, which keeps the position in double until f is rounded, and takes
//            fma(f, right - left, left), and so for upper and lower.
// Source: modules/imgproc/src/resize.cpp (resizeGeneric_, HResizeLinear, VResizeLinear) of OpenCV 4.8 to 5.0; IPP's was
// measured (2026.0).
//
// cv2.warpAffine, INTER_LINEAR, of uint8, by the inverse map x' = a x + b, and so for y; pixels beyond the image have the
// fill.
//   OpenCV 5    in float: x' = fma(a, x, b), and y' = a * y + b, each step rounded; then fma(f, right - left, left), and so
//               for upper and lower, and rint. Behind the last whole vector of a row (of 32 columns on AVX-512) x' is made
//               as y' is: such columns are only in canvases whose width is no multiple of that, and not told apart here.
//   OpenCV 4    X = (rint(1024 a x) + rint(1024 b) + 16) >> 5 and Y = (rint(1024 (a y + b)) + 16) >> 5 count 32nds of a
//               pixel; weights are the rests of 32, and the sum of the four products, with 512, is shifted right by 10.
// Source: modules/imgproc/src/warp_common.scalar.hpp and warp_kernels.simd.hpp of OpenCV 5.0, imgwarp.cpp of 4.12.
#pragma once

#include "device.h"

DEVICE int smaller(int a, int b) { return a < b ? a : b; }
DEVICE int clamp(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

// Two neighbours on an axis.
struct Taps {
    int first, second;
    int w0, w1;  // their weights of 2048
    float f;     // the weight of the second
};

// ratio: source pixels per pixel of the result, as OpenCV has it.
DEVICE Taps taps_at(int index, double ratio) {
    const float position = static_cast<float>((index + 0.5) * ratio - 0.5), first = floorf(position);
    return {static_cast<int>(first), static_cast<int>(first) + 1, 0, 0, position - first};
}

// The position not rounded before its floor is taken.
DEVICE Taps exact_taps_at(int index, double ratio) {
    const double position = (index + 0.5) * ratio - 0.5, first = floor(position);
    return {static_cast<int>(first), static_cast<int>(first) + 1, 0, 0, static_cast<float>(position - first)};
}

// Within a row of `length` pixels. The two are neighbours wherever it has two, so that they can be read together.
DEVICE Taps within_columns(Taps taps, int length) {
    if (taps.first < 0) {
        taps.first = 0;
        taps.f = 0.0f;
    } else if (taps.first >= length - 1) {
        taps.first = length > 1 ? length - 2 : 0;
        taps.f = length > 1 ? 1.0f : 0.0f;
    }
    taps.second = length > 1 ? taps.first + 1 : 0;
    return taps;
}

DEVICE Taps within_rows(Taps taps, int length) {
    taps.first = clamp(taps.first, 0, length - 1);
    taps.second = clamp(taps.second, 0, length - 1);
    return taps;
}

DEVICE Taps with_weights(Taps taps) {
    taps.w0 = static_cast<int>(rintf((1.0f - taps.f) * 2048.0f));
    taps.w1 = static_cast<int>(rintf(taps.f * 2048.0f));
    return taps;
}

// Weights of a row's two neighbours, beside each other in a word, as dot_low and dot_high take them; those of two rows, in
// the upper half of a word each, so that the upper half of a product is what is left of it behind 16 bits.
DEVICE unsigned packed_weights(const Taps& taps) { return static_cast<unsigned>(taps.w0 | taps.w1 << 16); }
DEVICE Taps with_high_weights(Taps taps) {
    taps = with_weights(taps);
    taps.w0 <<= 16;
    taps.w1 <<= 16;
    return taps;
}
DEVICE unsigned blend_bytes(unsigned upper, unsigned lower, const Taps& rows) {
    return (high_product(upper >> 4, rows.w0) + high_product(lower >> 4, rows.w1) + 2) >> 2;
}

// A position in 32nds of a pixel.
DEVICE Taps taps_of_32nds(int position) {
    const int rest = position & 31;
    return {position >> 5, (position >> 5) + 1, 32 - rest, rest, 0.0f};
}

DEVICE float fused(float a, float b, float f) { return fmaf(f, b - a, a); }
DEVICE float rounded(float a, float b, float f) { return a * (1.0f - f) + b * f; }
