// Where a tap reads: positions, the four neighbours and their weights, and the order in which blocks take the pixels.
#pragma once

#include "device.h"

namespace dcnv2 {

// A block takes neighbours in both directions, so that what its taps read overlaps: bands of 8 rows, cut into pieces of
// 16 columns, each piece row by row. What is left at the right and at the bottom is cut smaller; no pixel is wasted.
constexpr int kBandRows = 8, kPieceColumns = 16;

struct Pixel {
    int image, y, x;
};

DCNV2_BOTH Pixel pixel_at(int index, int height, int width) {
    const int image = index / (height * width);
    index -= image * height * width;
    const int band = index / (kBandRows * width);
    index -= band * kBandRows * width;
    const int rows = min(kBandRows, height - band * kBandRows);
    const int piece = index / (rows * kPieceColumns);
    index -= piece * rows * kPieceColumns;
    const int columns = min(kPieceColumns, width - piece * kPieceColumns);
    const int y = index / columns;
    return {image, band * kBandRows + y, piece * kPieceColumns + index - y * columns};
}

// What the channels of an offset group share at one pixel and tap: the pixel of the upper left neighbour, the steps to
// the others, and the weights, the mask in them.
struct Corners {
    int32_t first;  // pixel of x; 0 where the sample is outside
    int32_t steps;  // pixels down << 2 | pixels right << 1 | 1 where the sample is inside
};

template <typename T>
struct Sample;

template <>
struct alignas(16) Sample<half_t> {
    Corners corners;
    Half2 upper, lower;  // (left, right)
};

template <>
struct alignas(16) Sample<float> {
    Corners corners;
    int32_t unused[2];
    float weights[4];  // upper left, upper right, lower left, lower right
};

DCNV2_DEVICE void set_weights(Sample<half_t>& s, float ul, float ur, float ll, float lr) {
    s.upper = make_half2_(ul, ur);
    s.lower = make_half2_(ll, lr);
}
DCNV2_DEVICE void set_weights(Sample<float>& s, float ul, float ur, float ll, float lr) {
    s.weights[0] = ul;
    s.weights[1] = ur;
    s.weights[2] = ll;
    s.weights[3] = lr;
}

template <typename T>
DCNV2_DEVICE Sample<T> make_sample(int image, float y, float x, float mask, int height, int width) {
    Sample<T> sample;
    sample.corners = {0, 0};
    set_weights(sample, 0, 0, 0, 0);
    if (!(y > -1 && y < height && x > -1 && x < width)) return sample;
    const float top = floorf(y), left = floorf(x);
    const int y0 = static_cast<int>(top), x0 = static_cast<int>(left);
    // Neighbours outside keep a weight of 0 and the address of the one inside.
    const float lower = y0 + 1 < height ? (y - top) * mask : 0.0f, upper = y0 >= 0 ? (1 - (y - top)) * mask : 0.0f;
    const float right = x0 + 1 < width ? x - left : 0.0f, nearer = x0 >= 0 ? 1 - (x - left) : 0.0f;
    const int down = y0 >= 0 && y0 + 1 < height ? width : 0, aside = x0 >= 0 && x0 + 1 < width ? 1 : 0;
    sample.corners.first = (image * height + max(y0, 0)) * width + max(x0, 0);
    sample.corners.steps = down << 2 | aside << 1 | 1;
    set_weights(sample, upper * nearer, upper * right, lower * nearer, lower * right);
    return sample;
}

// Neighbours in the order upper left, upper right, lower left, lower right.
DCNV2_DEVICE uint32_t blend_word(uint32_t ul, uint32_t ur, uint32_t ll, uint32_t lr, const Sample<half_t>& s) {
    Half2 sum = multiply2(as_half2(ul), low_of(s.upper));
    sum = fuse2(as_half2(ur), high_of(s.upper), sum);
    sum = fuse2(as_half2(ll), low_of(s.lower), sum);
    return as_word(fuse2(as_half2(lr), high_of(s.lower), sum));
}
DCNV2_DEVICE uint32_t blend_word(uint32_t ul, uint32_t ur, uint32_t ll, uint32_t lr, const Sample<float>& s) {
    union {
        float value;
        uint32_t word;
    } sum;
    sum.value = as_float(ul) * s.weights[0] + as_float(ur) * s.weights[1] + as_float(ll) * s.weights[2] +
                as_float(lr) * s.weights[3];
    return sum.word;
}

template <typename T>
DCNV2_DEVICE Vec16 blend(const Vec16 (&v)[4], const Sample<T>& s, bool inside) {
    // What lies at pixel 0 must not come in through 0 * infinity where the sample is outside.
    return {inside ? blend_word(v[0].x, v[1].x, v[2].x, v[3].x, s) : 0u,
            inside ? blend_word(v[0].y, v[1].y, v[2].y, v[3].y, s) : 0u,
            inside ? blend_word(v[0].z, v[1].z, v[2].z, v[3].z, s) : 0u,
            inside ? blend_word(v[0].w, v[1].w, v[2].w, v[3].w, s) : 0u};
}

}  // namespace dcnv2
