// Images to a network's input: one launch for a batch, each image of its own size.
//
// A block makes a tile of one image's canvas. What columns and rows have in common is computed once for the tile. Where
// the canvas is of bytes, what a byte becomes in the input stands in a table, so that the CPU's own numbers come out,
// and no division is left.
#include "bilinear.h"

constexpr int kColumns = 64, kRows = 32, kThreads = 256;
constexpr int kAhead = 2;  // pixels of a thread that are read together

struct Image {
    const unsigned char* pixels;  // (height, width, 3)
    long long row_bytes;
    int height, width;
    int top, left, inner_height, inner_width;  // where it lies on the canvas, resized
    double ratio_y, ratio_x;                   // its pixels per pixel of the canvas
    double warp_y, warp_x, warp_scale;         // of the inverse map: y' = warp_scale * y + warp_y
    int is_exact;                              // floats as IPP has them, or a warp as OpenCV 5 has it
    int bits_y, bits_x;                        // of weights in whole numbers, by which torch averages bytes
};

struct Batch {
    const Image* images;
    void* output;       // (images, 3, height, width)
    const void* table;  // (3, 256): what a byte of the canvas becomes in each plane
    int height, width, is_bgr;
    int rows;  // of a block, at most kRows: fewer where there are few images, so that there are blocks enough
    int fill_bytes[3];  // the fill as a canvas of bytes has it
    float fill[3], mean[3], std[3];  // by plane
};

DEVICE int plane_of(const Batch& args, int channel) { return args.is_bgr ? 2 - channel : channel; }

// Two pixels beside each other, channel by channel: the left and the right red, the left and the right green; the blues.
struct Pair {
    unsigned red_green, blue;

    DEVICE float left(int channel) const { return byte(2 * channel); }
    DEVICE float right(int channel) const { return byte(2 * channel + 1); }
    DEVICE float byte(int place) const {
        return static_cast<float>((place < 4 ? red_green >> (8 * place) : blue >> (8 * (place - 4))) & 255);
    }
    // Their weighted sum, by the weights of bilinear.h.
    DEVICE unsigned dot(int channel, unsigned weights) const {
        return channel == 0 ? dot_low(weights, red_green) : channel == 1 ? dot_high(weights, red_green) : dot_low(weights, blue);
    }
};

// Two neighbours are 6 bytes anywhere, within two or three aligned words; of an image of one column they are the same 3.
// No word is read that has none of them, and nothing branches, so that many reads are under way at once.
DEVICE Pair load_pair(const Image& image, int row, const Taps& column) {
    const unsigned char* from = image.pixels + row * image.row_bytes + 3 * column.first;
    const unsigned offset = static_cast<unsigned>(reinterpret_cast<unsigned long long>(from) & 3);
    const bool is_one = column.second == column.first;
    const unsigned end = offset + (is_one ? 3 : 6);
    const unsigned* words = reinterpret_cast<const unsigned*>(from - offset);
    const unsigned w0 = load_word(words), w1 = end > 4 ? load_word(words + 1) : 0, w2 = end > 8 ? load_word(words + 2) : 0;
    const unsigned low = funnel(w0, w1, 8 * offset), high = funnel(w1, w2, 8 * offset);
    return {permuted(low, high, is_one ? 0x1100 : 0x4130), permuted(low, high, is_one ? 0x2222 : 0x5252)};
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

// What is read of an image for a pixel of the canvas that is resized.
struct Neighbours {
    Pair upper, lower;

    DEVICE void read(const Image& image, const Taps& x, const Taps& y) {
        upper = load_pair(image, y.first, x);
        lower = load_pair(image, y.second, x);
    }
};

// What is read for a pixel of the canvas elsewhere is read when it is made.
struct Nothing {
    DEVICE void read(const Image&, const Taps&, const Taps&) {}
};

// cv2.resize of bytes.
struct Bytes {
    typedef Neighbours Source;
    static constexpr bool kCoversAll = false;
    template <typename Out>
    DEVICE static void fill(const Planes<Out>& to) { to.fill(); }
    DEVICE static Taps column(const Image& image, int x) {
        return with_weights(within_columns(taps_at(x - image.left, image.ratio_x), image.width));
    }
    DEVICE static Taps row(const Image& image, int y) {
        return within_rows(with_high_weights(taps_at(y - image.top, image.ratio_y)), image.height);
    }
    template <typename Out>
    DEVICE static void pixel(const Image&, const Taps& x, const Taps& y, const Source& from, const Planes<Out>& to) {
        const unsigned weights = packed_weights(x);
        for (int c = 0; c < 3; ++c) to.put(c, blend_bytes(from.upper.dot(c, weights), from.lower.dot(c, weights), y));
    }
};

// cv2.resize of the same pixels in float32.
struct Floats {
    typedef Neighbours Source;
    static constexpr bool kCoversAll = false;
    template <typename Out>
    DEVICE static void fill(const Planes<Out>& to) { to.fill_float(); }
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
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, const Source& from, const Planes<Out>& to) {
        for (int c = 0; c < 3; ++c) {
            const float a = from.upper.left(c), b = from.upper.right(c), d = from.lower.left(c), e = from.lower.right(c);
            to.put_float(c, image.is_exact ? fused(fused(a, b, x.f), fused(d, e, x.f), y.f)
                                           : rounded(rounded(a, b, x.f), rounded(d, e, x.f), y.f));
        }
    }
};

// cv2.warpAffine of bytes.
struct Warp {
    typedef Nothing Source;
    static constexpr bool kCoversAll = true;  // of the canvas
    template <typename Out>
    DEVICE static void fill(const Planes<Out>&) {}
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
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, const Source&, const Planes<Out>& to) {
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
    typedef Nothing Source;
    static constexpr bool kCoversAll = true;  // of the canvas
    template <typename Out>
    DEVICE static void fill(const Planes<Out>&) {}
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
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, const Source&, const Planes<Out>& to) {
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

// An image as torch resizes bytes with antialiasing: the weights in whole numbers, and columns rounded to bytes before
// rows. fits.py has the arithmetic, step by step in double, and its source.
struct AverageBytes {
    typedef Nothing Source;
    static constexpr bool kCoversAll = true;  // of the canvas
    template <typename Out>
    DEVICE static void fill(const Planes<Out>&) {}
    struct Under {
        int begin, end, bits;
        double centre, inverse, sum;

        DEVICE Under(int index, double ratio, int length, int bits) : bits(bits), sum(0) {
            const double reach = ratio > 1 ? ratio : 1;
            centre = ratio * (index + 0.5);
            inverse = 1 / reach;
            begin = static_cast<int>(centre - reach + 0.5);
            end = smaller(static_cast<int>(centre + reach + 0.5), length);
            begin = begin < 0 ? 0 : begin;
            for (int i = begin; i < end; ++i) sum += exact(i);
        }
        DEVICE double exact(int i) const {
            const double distance = fabs(i - centre + 0.5) * inverse;
            return distance < 1 ? 1 - distance : 0;
        }
        DEVICE int weight(int i) const { return static_cast<int>(exact(i) / sum * (1 << bits) + 0.5); }
        // Where a batch has no image its numbers are zero, the bits as well.
        DEVICE int half() const { return (1 << bits) >> 1; }
    };
    DEVICE static Taps column(const Image&, int x) { return {x, x, 0, 0, 0}; }
    DEVICE static Taps row(const Image&, int y) { return {y, y, 0, 0, 0}; }
    template <typename Out>
    DEVICE static void pixel(const Image& image, const Taps& x, const Taps& y, const Source&, const Planes<Out>& to) {
        const Under rows(y.first, image.ratio_y, image.height, image.bits_y);
        const Under columns(x.first, image.ratio_x, image.width, image.bits_x);
        int sums[3] = {rows.half(), rows.half(), rows.half()};
        for (int i = rows.begin; i < rows.end; ++i) {
            int row[3] = {columns.half(), columns.half(), columns.half()};
            for (int j = columns.begin; j < columns.end; ++j) {
                const int weight = columns.weight(j);
                for (int c = 0; c < 3; ++c) row[c] += weight * load_byte(image.pixels + i * image.row_bytes + 3 * j + c);
            }
            const int weight = rows.weight(i);
            for (int c = 0; c < 3; ++c) sums[c] += weight * smaller(row[c] >> columns.bits, 255);
        }
        for (int c = 0; c < 3; ++c) to.put(c, smaller(sums[c] >> rows.bits, 255));
    }
};

template <typename Fit, typename Out>
DEVICE void preprocess(const Batch& args) {
    SHARED Taps columns[kColumns], rows[kRows];
    SHARED Out table[3 * 256];
    const Image image = args.images[block_z()];
    const int first_x = block_x() * kColumns, first_y = block_y() * args.rows;
    const int end_x = smaller(kColumns, args.width - first_x), end_y = smaller(args.rows, args.height - first_y);
    // What of the tile the image covers; what is warped, or cut out of an image, covers all of it.
    int left = 0, right = end_x, top = 0, bottom = end_y;
    if (!Fit::kCoversAll) {
        left = clamp(image.left - first_x, 0, end_x);
        right = clamp(image.left + image.inner_width - first_x, 0, end_x);
        top = clamp(image.top - first_y, 0, end_y);
        bottom = clamp(image.top + image.inner_height - first_y, 0, end_y);
    }
UNROLL(3)
    for (int i = thread_index(); i < 3 * 256; i += thread_count<kThreads>()) table[i] = static_cast<const Out*>(args.table)[i];
UNROLL(1)
    for (int i = left + thread_index(); i < right; i += thread_count<kThreads>()) columns[i] = Fit::column(image, first_x + i);
UNROLL(1)
    for (int i = top + thread_index(); i < bottom; i += thread_count<kThreads>()) rows[i] = Fit::row(image, first_y + i);
    sync_block();
    const long long plane = static_cast<long long>(args.height) * args.width;
    auto planes_at = [&](int column, int row) {
        const long long at = 3 * plane * block_z() + static_cast<long long>(first_y + row) * args.width + first_x + column;
        return Planes<Out>{args, table, at, plane};
    };
    // A thread stays in its column, or has several where there are few threads.
    const int across = smaller(thread_count<kThreads>(), kColumns), down = (thread_count<kThreads>() + across - 1) / across;
UNROLL(1)
    for (int column = thread_index() % across; column < end_x; column += across) {
        const bool is_within = left <= column && column < right;
UNROLL(1)
        for (int row = thread_index() / across; !Fit::kCoversAll && row < end_y; row += down)
            if (!is_within || row < top || row >= bottom) Fit::fill(planes_at(column, row));
        if (!is_within) continue;
        const Taps taps = columns[column];
        // Several pixels are read before the first is made, as memory is far away.
UNROLL(1)
        for (int row = top + thread_index() / across; row < bottom; row += kAhead * down) {
            typename Fit::Source sources[kAhead];
            for (int i = 0; i < kAhead; ++i) sources[i].read(image, taps, rows[smaller(row + i * down, bottom - 1)]);
            for (int i = 0; i < kAhead; ++i) {
                const int own = row + i * down;
                if (own < bottom) Fit::pixel(image, taps, rows[own], sources[i], planes_at(column, own));
            }
        }
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
KERNEL(average_bytes_to_float32, Batch, kThreads) { preprocess<AverageBytes, float>(args); }
KERNEL(average_bytes_to_float16, Batch, kThreads) { preprocess<AverageBytes, unsigned short>(args); }
