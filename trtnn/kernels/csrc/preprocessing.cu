// Images to a network's input: one launch for a batch, each image of its own size.
//
// A block makes a tile of one image's canvas. What columns and rows have in common is computed once for the tile. Where
// the canvas is of bytes, what a byte becomes in the input stands in a table, so that the CPU's own numbers come out,
// and no division is left.
#include "bilinear.h"

constexpr int kColumns = 64, kRows = 32, kThreads = 256;

struct Image {
    const unsigned char* pixels;  // (height, width, 3)
    long long row_bytes;
    int height, width;
    int top, left, inner_height, inner_width;  // where it lies on the canvas, resized
    double ratio_y, ratio_x;                   // its pixels per pixel of the canvas
    double warp_y, warp_x, warp_scale;         // of the inverse map: y' = warp_scale * y + warp_y
    int is_exact;                              // floats as IPP has them, or a warp as OpenCV 5 has it
};

struct Batch {
    const Image* images;
    void* output;       // (images, 3, height, width)
    const void* table;  // (3, 256): what a byte of the canvas becomes in each plane
    int height, width, is_bgr;
    int fill_bytes[3];  // the fill as a canvas of bytes has it
    float fill[3], mean[3], std[3];  // by plane
};

DEVICE int plane_of(const Batch& args, int channel) { return args.is_bgr ? 2 - channel : channel; }

// The channels of two pixels beside each other.
struct Pair {
    int left[3], right[3];
};

DEVICE void load_pixel(const unsigned char* from, int (&to)[3]) {
    for (int c = 0; c < 3; ++c) to[c] = load_byte(from + c);
}

// Two neighbours are 6 bytes anywhere, within two or three aligned words: no word is read that has none of them.
DEVICE Pair load_neighbours(const unsigned char* from) {
    const unsigned offset = static_cast<unsigned>(reinterpret_cast<unsigned long long>(from) & 3);
    const unsigned* words = reinterpret_cast<const unsigned*>(from - offset);
    const unsigned w0 = load_word(words), w1 = load_word(words + 1), w2 = offset == 3 ? load_word(words + 2) : 0;
    const unsigned low = funnel(w0, w1, 8 * offset), high = funnel(w1, w2, 8 * offset);
    return {{static_cast<int>(low & 255), static_cast<int>(low >> 8 & 255), static_cast<int>(low >> 16 & 255)},
            {static_cast<int>(low >> 24), static_cast<int>(high & 255), static_cast<int>(high >> 8 & 255)}};
}

DEVICE Pair load_pair(const Image& image, int row, const Taps& column) {
    const unsigned char* from = image.pixels + row * image.row_bytes;
    if (column.second != column.first) return load_neighbours(from + 3 * column.first);
    Pair pair;
    load_pixel(from, pair.left);
    load_pixel(from, pair.right);
    return pair;
}

DEVICE void store(unsigned short* to, float value) { *to = half_bits_of(value); }
DEVICE void store(float* to, float value) { *to = value; }

// What the canvas has at a pixel goes to the input's three planes.
template <typename Out>
struct Planes {
    const Batch& args;
    const Out* table;  // of the block
    long long at, plane;

    DEVICE Out* place(int channel) const { return static_cast<Out*>(args.output) + at + plane_of(args, channel) * plane; }
    DEVICE void put(int channel, int value) const { *place(channel) = table[plane_of(args, channel) * 256 + value]; }
    DEVICE void put_float(int channel, float value) const {
        const int p = plane_of(args, channel);
        store(place(channel), (value / 255.0f - args.mean[p]) / args.std[p]);
    }
    DEVICE void fill() const {
        for (int c = 0; c < 3; ++c) put(c, args.fill_bytes[plane_of(args, c)]);
    }
    DEVICE void fill_float() const {
        for (int c = 0; c < 3; ++c) put_float(c, args.fill[plane_of(args, c)]);
    }
};

// cv2.resize of bytes.
struct Bytes {
    DEVICE static Taps column(const Image& image, int x) {
        return with_weights(within_columns(taps_at(x - image.left, image.ratio_x), image.width));
    }
    DEVICE static Taps row(const Image& image, int y) {
        return within_rows(with_weights(taps_at(y - image.top, image.ratio_y)), image.height);
    }
    template <typename Out>
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, bool inside, const Planes<Out>& to) {
        if (!inside) return to.fill();
        const Pair upper = load_pair(image, y.first, x), lower = load_pair(image, y.second, x);
        for (int c = 0; c < 3; ++c) {
            const int high = upper.left[c] * x.w0 + upper.right[c] * x.w1;
            const int low = lower.left[c] * x.w0 + lower.right[c] * x.w1;
            to.put(c, blend_bytes(high, low, y.w0, y.w1));
        }
    }
};

// cv2.resize of the same pixels in float32.
struct Floats {
    DEVICE static Taps at(const Image& image, int index, double ratio) {
        return image.is_exact ? exact_taps_at(index, ratio) : taps_at(index, ratio);
    }
    DEVICE static Taps column(const Image& image, int x) {
        return within_columns(at(image, x - image.left, image.ratio_x), image.width);
    }
    DEVICE static Taps row(const Image& image, int y) {
        return within_rows(at(image, y - image.top, image.ratio_y), image.height);
    }
    template <typename Out>
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, bool inside, const Planes<Out>& to) {
        if (!inside) return to.fill_float();
        const Pair upper = load_pair(image, y.first, x), lower = load_pair(image, y.second, x);
        for (int c = 0; c < 3; ++c) {
            const float a = upper.left[c], b = upper.right[c], d = lower.left[c], e = lower.right[c];
            to.put_float(c, image.is_exact ? fused(fused(a, b, x.f), fused(d, e, x.f), y.f)
                                           : rounded(rounded(a, b, x.f), rounded(d, e, x.f), y.f));
        }
    }
};

// cv2.warpAffine of bytes.
struct Warp {
    DEVICE static Taps at(float position) {
        const float first = floorf(position);
        return {static_cast<int>(first), static_cast<int>(first) + 1, 0, 0, position - first};
    }
    DEVICE static int whole(double pixels) { return static_cast<int>(rint(1024 * pixels)); }
    DEVICE static Taps column(const Image& image, int x) {
        if (!image.is_exact) return taps_of_32nds((whole(image.warp_scale * x) + whole(image.warp_x) + 16) >> 5);
        return at(fmaf(static_cast<float>(image.warp_scale), static_cast<float>(x), static_cast<float>(image.warp_x)));
    }
    DEVICE static Taps row(const Image& image, int y) {
        if (!image.is_exact) return taps_of_32nds((whole(image.warp_scale * y + image.warp_y) + 16) >> 5);
        return at(static_cast<float>(image.warp_scale) * static_cast<float>(y) + static_cast<float>(image.warp_y));
    }
    template <typename Out>
    DEVICE static void corner(const Image& image, int y, int x, const Planes<Out>& to, int (&pixel)[3]) {
        const bool inside = 0 <= y && y < image.height && 0 <= x && x < image.width;
        const unsigned char* from = image.pixels + y * image.row_bytes + 3 * x;
        for (int c = 0; c < 3; ++c) pixel[c] = inside ? load_byte(from + c) : to.args.fill_bytes[plane_of(to.args, c)];
    }
    template <typename Out>
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, bool, const Planes<Out>& to) {
        int a[3], b[3], d[3], e[3];
        corner(image, y.first, x.first, to, a);
        corner(image, y.first, x.second, to, b);
        corner(image, y.second, x.first, to, d);
        corner(image, y.second, x.second, to, e);
        for (int c = 0; c < 3; ++c) {
            const float mean = fused(fused(a[c], b[c], x.f), fused(d[c], e[c], x.f), y.f);
            const int sum = (a[c] * x.w0 + b[c] * x.w1) * y.w0 + (d[c] * x.w0 + e[c] * x.w1) * y.w1;
            to.put(c, image.is_exact ? clamp(static_cast<int>(rintf(mean)), 0, 255) : (sum + 512) >> 10);
        }
    }
};

// The middle of an image as torchvision cuts it out: each pixel a weighted mean of those under it, by weights that fall
// linearly to zero at a distance of one pixel of the coarser of the two; rounded to a byte.
struct Average {
    struct Under {
        int begin, end;
        double centre, reach, sum;

        DEVICE double weight(int index) const {
            const double distance = fabs(index + 0.5 - centre) / reach;
            return distance < 1 ? 1 - distance : 0;
        }
    };
    DEVICE static Under under(int index, double ratio, int length) {
        Under under;
        under.centre = (index + 0.5) * ratio;
        under.reach = ratio > 1 ? ratio : 1;
        under.begin = static_cast<int>(floor(under.centre - under.reach - 0.5));
        under.end = static_cast<int>(ceil(under.centre + under.reach + 0.5));
        under.begin = under.begin < 0 ? 0 : under.begin;
        under.end = under.end > length ? length : under.end;
        under.sum = 0;
        for (int i = under.begin; i < under.end; ++i) under.sum += under.weight(i);
        return under;
    }
    DEVICE static Taps column(const Image&, int x) { return {x, x, 0, 0, 0}; }
    DEVICE static Taps row(const Image&, int y) { return {y, y, 0, 0, 0}; }
    template <typename Out>
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, bool, const Planes<Out>& to) {
        const Under rows = under(y.first - image.top, image.ratio_y, image.height);
        const Under columns = under(x.first - image.left, image.ratio_x, image.width);
        float sums[3] = {};
        for (int j = columns.begin; j < columns.end; ++j) {
            float column[3] = {};
            for (int i = rows.begin; i < rows.end; ++i) {
                const float weight = static_cast<float>(rows.weight(i) / rows.sum);
                for (int c = 0; c < 3; ++c)
                    column[c] = fmaf(weight, load_byte(image.pixels + i * image.row_bytes + 3 * j + c), column[c]);
            }
            const float weight = static_cast<float>(columns.weight(j) / columns.sum);
            for (int c = 0; c < 3; ++c) sums[c] = fmaf(weight, column[c], sums[c]);
        }
        for (int c = 0; c < 3; ++c) to.put(c, clamp(static_cast<int>(rintf(sums[c])), 0, 255));
    }
};

template <typename Fit, typename Out>
DEVICE void preprocess(const Batch& args) {
    SHARED Taps columns[kColumns], rows[kRows];
    SHARED Out table[3 * 256];
    const Image image = args.images[block_z()];
    const int first_x = block_x() * kColumns, first_y = block_y() * kRows;
    for (int i = thread_index(); i < 3 * 256; i += thread_count()) table[i] = static_cast<const Out*>(args.table)[i];
    for (int i = thread_index(); i < kColumns; i += thread_count()) columns[i] = Fit::column(image, first_x + i);
    for (int i = thread_index(); i < kRows; i += thread_count()) rows[i] = Fit::row(image, first_y + i);
    sync_block();
    const long long plane = static_cast<long long>(args.height) * args.width;
    for (int i = thread_index(); i < kColumns * kRows; i += thread_count()) {
        const int column = i % kColumns, row = i / kColumns, x = first_x + column, y = first_y + row;
        if (x >= args.width || y >= args.height) continue;
        const bool inside = image.left <= x && x < image.left + image.inner_width && image.top <= y &&
                            y < image.top + image.inner_height;
        const long long at = 3 * plane * block_z() + static_cast<long long>(y) * args.width + x;
        Fit::pixel(image, columns[column], rows[row], inside, Planes<Out>{args, table, at, plane});
    }
}

KERNEL(bytes_to_float32, Batch, kThreads) { preprocess<Bytes, float>(args); }
KERNEL(bytes_to_float16, Batch, kThreads) { preprocess<Bytes, unsigned short>(args); }
KERNEL(floats_to_float32, Batch, kThreads) { preprocess<Floats, float>(args); }
KERNEL(floats_to_float16, Batch, kThreads) { preprocess<Floats, unsigned short>(args); }
KERNEL(warp_to_float32, Batch, kThreads) { preprocess<Warp, float>(args); }
KERNEL(warp_to_float16, Batch, kThreads) { preprocess<Warp, unsigned short>(args); }
KERNEL(average_to_float32, Batch, kThreads) { preprocess<Average, float>(args); }
KERNEL(average_to_float16, Batch, kThreads) { preprocess<Average, unsigned short>(args); }
