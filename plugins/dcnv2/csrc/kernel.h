// The fused kernel: bilinear samples go straight into the shared-memory tiles of a tensor-core matrix product.
//
// A block makes BM pixels by BN output channels of one group. For each k-tile (plan.h) it holds BM x 128 bytes of
// samples and BN x 128 bytes of weights, twice: while the tensor cores multiply one pair, the threads gather the next.
// fp16 is multiplied as it is, summed in fp32; fp32 is split into two tf32 numbers and multiplied three times, which
// keeps 21 bits. Rows of 128 bytes have their 16-byte pieces permuted by the row's number, so that neither the writes
// nor ldmatrix meet in one bank.
#pragma once

#include "plan.h"
#include "sampling.h"

namespace dcnv2 {

struct Arguments {
    const void* x;       // [pixel][units of 16 bytes]
    const void* offset;  // and mask: element = image * batch_stride + channel * channel_stride + pixel * pixel_stride
    const void* mask;
    int64_t offset_batch_stride, mask_batch_stride;
    int32_t offset_channel_stride, offset_pixel_stride, mask_channel_stride, mask_pixel_stride;
    int32_t offset_is_half, mask_mode;
    const void* weights;
    const float* bias;
    const int32_t* table;
    const Phase* phases;
    const Group* groups;
    void* output;
    // Blocks of pixels from `whole` on are split: each split's sum goes there in fp32, [split][pixel][output channel],
    // pixels counted from the first of these blocks, in the blocks' order.
    float* partial;
    int32_t whole, first_partial, splits, output_is_nhwc;  // first_partial: a pixel
    int32_t height, width, units, out_height, out_width, pixels;
    int32_t out_channels, group_outputs;  // of all groups, of one
    int32_t taps, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
};

constexpr int max_of(int a, int b) { return a > b ? a : b; }

// Of shared memory: the rows of the output, the tiles from there on, the samples. The results go over the latter two.
constexpr int kTilesAt = 1024;

inline size_t block_bytes(size_t tiles, size_t results, size_t samples) {
    return kTilesAt + (tiles + samples > results ? tiles + samples : results);
}

template <typename T_, int BM_, int BN_, int WARPS_M_, int WARPS_N_, int BLOCKS_>
struct Tile {
    using T = T_;
    static constexpr int BM = BM_, BN = BN_, WARPS_M = WARPS_M_, WARPS_N = WARPS_N_;
    static constexpr int BLOCKS = BLOCKS_;  // on one multiprocessor, what the registers are limited for
    static constexpr int THREADS = WARPS_M * WARPS_N * 32;
    static constexpr int WM = BM / WARPS_M, WN = BN / WARPS_N;  // of one warp
    static constexpr int MT = WM / 16, NT = WN / 8;             // in mma's tiles
    static constexpr int ITEMS = BM * kTileUnits / THREADS;     // units that a thread gathers for one k-tile
    static constexpr int PAIR = ITEMS > 1 ? 2 : 1;              // units on their way at once before the first k-tile
    static constexpr int STEPS = 4;                             // mma's k in a k-tile
    static constexpr int ROWS = THREADS / kTileUnits;           // distance of a thread's items
    static constexpr int UNIT = 16 / sizeof(T);
    static constexpr int STAGE_PITCH = BN * sizeof(T) + 16;
    static constexpr int MANY = 2;           // samples' offsets that a thread loads at once
    static constexpr int COPIERS = THREADS;  // threads that copy the weights of one k-tile
    static_assert(WM % 16 == 0 && WN % 16 == 0 && THREADS % BM == 0 && BM * kTileUnits % THREADS == 0, "tile");
    static_assert(ROWS % 8 == 0, "a thread's rows must agree modulo 8");
    static_assert(ITEMS <= STEPS ? STEPS % ITEMS == 0 : ITEMS % STEPS == 0, "items");

    static constexpr int a_bytes = BM * 128, b_bytes = BN * 128;
    static constexpr int tiles_bytes = 2 * (a_bytes + b_bytes), stage_bytes = BM * STAGE_PITCH;
    static size_t shared_bytes(int slots) { return block_bytes(tiles_bytes, stage_bytes, slots * BM * sizeof(Sample<T>)); }
    static_assert(BM * sizeof(int32_t) <= kTilesAt, "rows");
};

// What a block makes.
struct Part {
    int first_pixel, first_output, group, split;
    bool whole;
    int begin, end;  // k-tiles
};

template <typename Tile>
DCNV2_DEVICE Part part_of_block(const Arguments& args) {
    const int across = (args.group_outputs + Tile::BN - 1) / Tile::BN, index = block_x() / across;
    const bool whole = index < args.whole;
    const int rest = whole ? 0 : index - args.whole, splits = whole ? 1 : args.splits, split = rest % splits;
    const Group group = args.groups[block_y()];
    return {(whole ? index : args.whole + rest / splits) * Tile::BM,
            block_x() % across * Tile::BN,
            block_y(),
            split,
            whole,
            group.first_tile + static_cast<int>(static_cast<int64_t>(group.tiles) * split / splits),
            group.first_tile + static_cast<int>(static_cast<int64_t>(group.tiles) * (split + 1) / splits)};
}

// The place of each of the block's pixels in the output; -1 past the last.
template <typename Tile>
DCNV2_DEVICE void write_rows(const Arguments& args, int first_pixel, int32_t* rows) {
    if (thread_index() >= Tile::BM) return;
    const int index = first_pixel + thread_index();
    const Pixel pixel = pixel_at(index < args.pixels ? index : 0, args.out_height, args.out_width);
    rows[thread_index()] =
        index < args.pixels ? (pixel.image * args.out_height + pixel.y) * args.out_width + pixel.x : -1;
}

DCNV2_DEVICE int swizzled(int row, int unit) { return row * 128 + ((unit ^ (row & 7)) << 4); }

DCNV2_DEVICE float load_any(const void* from, int64_t element, int is_half) {
    return is_half ? load_value(static_cast<const half_t*>(from) + element)
                   : load_value(static_cast<const float*>(from) + element);
}

// The samples of a phase's slots for the block's pixels; a thread stays at one pixel.
template <typename Tile>
DCNV2_DEVICE void make_samples(const Arguments& args, const Phase& phase, int first_pixel,
                               Sample<typename Tile::T>* samples) {
    const int row = thread_index() % Tile::BM, index = first_pixel + row;
    constexpr int STRIDE = Tile::THREADS / Tile::BM, MANY = Tile::MANY;
    // What lies past the last pixel is made like the first and not written.
    const Pixel pixel = pixel_at(index < args.pixels ? index : 0, args.out_height, args.out_width);
    const int64_t place = pixel.y * args.out_width + pixel.x;
    const int64_t offset_at = pixel.image * args.offset_batch_stride + place * args.offset_pixel_stride;
    const int64_t mask_at = pixel.image * args.mask_batch_stride + place * args.mask_pixel_stride;
    const int top = pixel.y * args.stride_h - args.padding_h, left = pixel.x * args.stride_w - args.padding_w;
    for (int from = thread_index() / Tile::BM; from < phase.slots; from += STRIDE * MANY) {
        float y[MANY], x[MANY], mask[MANY];
#pragma unroll
        for (int i = 0; i < MANY; ++i) {
            const int64_t slot = phase.first_slot + min(from + i * STRIDE, phase.slots - 1);
            y[i] = load_any(args.offset, offset_at + slot * 2 * args.offset_channel_stride, args.offset_is_half);
            x[i] = load_any(args.offset, offset_at + (slot * 2 + 1) * args.offset_channel_stride, args.offset_is_half);
            mask[i] = args.mask_mode == DCNV2_MASK_NONE
                          ? 1.0f
                          : load_any(args.mask, mask_at + slot * args.mask_channel_stride, args.offset_is_half);
        }
#pragma unroll
        for (int i = 0; i < MANY; ++i) {
            const int slot = from + i * STRIDE;
            if (slot >= phase.slots) break;
            const int tap = (phase.first_slot + slot) % args.taps, tap_y = tap / args.kernel_w;
            y[i] += static_cast<float>(top + tap_y * args.dilation_h);
            x[i] += static_cast<float>(left + (tap - tap_y * args.kernel_w) * args.dilation_w);
            if (args.mask_mode == DCNV2_MASK_LOGITS) mask[i] = 1.0f / (1.0f + exponential(-mask[i]));
            samples[slot * Tile::BM + row] =
                make_sample<typename Tile::T>(pixel.image, y[i], x[i], mask[i], args.height, args.width);
        }
    }
}

// One unit on its way from x to shared memory.
template <typename T>
struct Gather {
    Vec16 neighbours[4];
    Sample<T> sample;
    bool inside;
};

template <typename Tile>
DCNV2_DEVICE void start_gather(const Arguments& args, int32_t entry, int row,
                               const Sample<typename Tile::T>* samples, Gather<typename Tile::T>& gather) {
    const int slot = entry == kNoUnit ? 0 : entry >> kSlotShift;
    const int unit = entry == kNoUnit ? 0 : entry & ((1 << kSlotShift) - 1);
    gather.sample = samples[slot * Tile::BM + row];
    const Corners corners = gather.sample.corners;
    gather.inside = entry != kNoUnit && (corners.steps & 1);
    const Vec16* from = static_cast<const Vec16*>(args.x) + (corners.first * args.units + unit);
    const int right = corners.steps & 2 ? args.units : 0, down = (corners.steps >> 2) * args.units;
    gather.neighbours[0] = load16(from);
    gather.neighbours[1] = load16(from + right);
    gather.neighbours[2] = load16(from + down);
    gather.neighbours[3] = load16(from + (down + right));
}

template <typename T>
DCNV2_DEVICE void finish_gather(const Gather<T>& gather, uint32_t to) {
    store_shared(to, blend(gather.neighbours, gather.sample, gather.inside));
}

// The weights of one k-tile; rows past the group's last output channel are zero.
template <typename Tile>
DCNV2_DEVICE void copy_weights(const Arguments& args, int tile, int first_output, uint32_t b) {
    constexpr int PIECES = Tile::BN * kTileUnits, ROWS = Tile::COPIERS / kTileUnits;
    const int thread = thread_index() % Tile::COPIERS;
    const int first_row = thread / kTileUnits, rows = args.group_outputs - first_output;
    const Vec16* from = static_cast<const Vec16*>(args.weights) +
                        (static_cast<int64_t>(tile) * args.group_outputs + first_output) * kTileUnits + thread;
    const uint32_t to = b + swizzled(first_row, thread % kTileUnits);
#pragma unroll
    for (int i = 0; i < (PIECES + Tile::COPIERS - 1) / Tile::COPIERS; ++i) {
        if (PIECES % Tile::COPIERS != 0 && thread + i * Tile::COPIERS >= PIECES) break;
        copy_async(to + i * ROWS * 128, from + i * Tile::COPIERS, first_row + i * ROWS < rows);
    }
    copy_commit();
}

DCNV2_DEVICE void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, half_t) {
    multiply_half(c, a, b0, b1);
}

// Three of the four products of (large + small) * (large + small), the small ones first.
DCNV2_DEVICE void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float) {
    uint32_t large[4], small[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        large[i] = round_tf32(as_float(a[i]));
        small[i] = round_tf32(as_float(a[i]) - as_float(large[i]));
    }
    const uint32_t large0 = round_tf32(as_float(b0)), large1 = round_tf32(as_float(b1));
    multiply_tf32(c, small, large0, large1);
    multiply_tf32(c, large, round_tf32(as_float(b0) - as_float(large0)), round_tf32(as_float(b1) - as_float(large1)));
    multiply_tf32(c, large, large0, large1);
}

// One of the four steps through a k-tile. The rows that a lane addresses agree modulo 8, so the permutation of pieces
// is one exclusive or: `a` and `b` are the lane's first rows, the keys its pieces at step 0.
template <typename Tile>
DCNV2_DEVICE void multiply_step(float (&sums)[Tile::MT][Tile::NT][4], uint32_t a, uint32_t b, uint32_t a_key,
                                uint32_t b_key, int step) {
    uint32_t left[Tile::MT][4];
    a += a_key ^ (step << 5);
    b += b_key ^ (step << 5);
#pragma unroll
    for (int m = 0; m < Tile::MT; ++m) load_matrices(left[m], a + m * 16 * 128);
#pragma unroll
    for (int n = 0; n < Tile::NT; n += 2) {
        uint32_t right[4];
        load_matrices(right, b + n * 8 * 128);
#pragma unroll
        for (int m = 0; m < Tile::MT; ++m) {
            multiply(sums[m][n], left[m], right[0], right[1], typename Tile::T());
            multiply(sums[m][n + 1], left[m], right[2], right[3], typename Tile::T());
        }
    }
}

DCNV2_DEVICE void store_pair(float left, float right, half_t* to) {
    *reinterpret_cast<Half2*>(to) = make_half2_(left, right);
}
DCNV2_DEVICE void store_pair(float left, float right, float* to) {
    to[0] = left;
    to[1] = right;
}

// The block's results through shared memory, so that what is written is coalesced in either layout.
template <typename Tile>
DCNV2_DEVICE void write_output(const Arguments& args, float (&sums)[Tile::MT][Tile::NT][4], const int32_t* rows,
                               unsigned char* stage, const Part& part, int warp_m, int warp_n, int lane,
                               bool has_sums = true) {
    using T = typename Tile::T;
    const int first_output = part.first_output, base = part.group * args.group_outputs;
    const int end = min(args.group_outputs - first_output, Tile::BN);
#pragma unroll
    for (int m = 0; m < Tile::MT; ++m)
#pragma unroll
        for (int n = 0; n < Tile::NT; ++n) {
            if (!has_sums) break;
            const int row = warp_m * Tile::WM + m * 16 + lane / 4, column = warp_n * Tile::WN + n * 8 + lane % 4 * 2;
            const float* bias = args.bias + base + first_output + column;
            const float left = column < end ? bias[0] : 0.0f, right = column + 1 < end ? bias[1] : 0.0f;
            unsigned char* to = stage + row * Tile::STAGE_PITCH + column * sizeof(T);
            store_pair(sums[m][n][0] + left, sums[m][n][1] + right, reinterpret_cast<T*>(to));
            store_pair(sums[m][n][2] + left, sums[m][n][3] + right, reinterpret_cast<T*>(to + 8 * Tile::STAGE_PITCH));
        }
    sync_block();
    T* output = static_cast<T*>(args.output);
    if (args.output_is_nhwc && args.out_channels % Tile::UNIT == 0 && args.group_outputs % Tile::UNIT == 0) {
        constexpr int ACROSS = Tile::BN / Tile::UNIT;
        for (int i = thread_index(); i < Tile::BM * ACROSS; i += Tile::THREADS) {
            const int row = i / ACROSS, column = i % ACROSS * Tile::UNIT;
            if (rows[row] < 0 || column >= end) continue;
            *reinterpret_cast<Vec16*>(output + static_cast<int64_t>(rows[row]) * args.out_channels + base +
                                      first_output + column) =
                *reinterpret_cast<const Vec16*>(stage + row * Tile::STAGE_PITCH + column * sizeof(T));
        }
    } else if (args.output_is_nhwc) {
        for (int i = thread_index(); i < Tile::BM * Tile::BN; i += Tile::THREADS) {
            const int row = i / Tile::BN, column = i % Tile::BN;
            if (rows[row] < 0 || column >= end) continue;
            output[static_cast<int64_t>(rows[row]) * args.out_channels + base + first_output + column] =
                reinterpret_cast<const T*>(stage + row * Tile::STAGE_PITCH)[column];
        }
    } else {
        const int row = thread_index() % Tile::BM, place = rows[row], area = args.out_height * args.out_width;
        if (place < 0) return;
        const int image = place / area;
        output += (static_cast<int64_t>(image) * args.out_channels + base + first_output) * area + (place - image * area);
        for (int column = thread_index() / Tile::BM; column < end; column += Tile::THREADS / Tile::BM)
            output[static_cast<int64_t>(column) * area] =
                reinterpret_cast<const T*>(stage + row * Tile::STAGE_PITCH)[column];
    }
}

template <typename Tile>
DCNV2_DEVICE void write_partial(const Arguments& args, float (&sums)[Tile::MT][Tile::NT][4], const Part& part,
                                int warp_m, int warp_n, int lane) {
    const int base = part.group * args.group_outputs + part.first_output, end = args.group_outputs - part.first_output;
#pragma unroll
    for (int m = 0; m < Tile::MT; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int pixel = part.first_pixel + warp_m * Tile::WM + m * 16 + lane / 4 + half * 8;
            if (pixel >= args.pixels) continue;
            const int64_t row = static_cast<int64_t>(part.split) * (args.pixels - args.first_partial) + pixel;
            float* to = args.partial + (row - args.first_partial) * args.out_channels + base;
#pragma unroll
            for (int n = 0; n < Tile::NT; ++n)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int column = warp_n * Tile::WN + n * 8 + lane % 4 * 2 + i;
                    if (column < end) to[column] = sums[m][n][half * 2 + i];
                }
        }
}

// Grid: blocks of pixels (those split once for each split) x blocks of output channels, groups.
template <typename Tile>
DCNV2_KERNEL(Tile::THREADS, Tile::BLOCKS)
deform_kernel(const Arguments args) {
    using T = typename Tile::T;
    int32_t* rows = reinterpret_cast<int32_t*>(shared_memory());
    unsigned char* stage = shared_memory() + kTilesAt;
    Sample<T>* samples = reinterpret_cast<Sample<T>*>(stage + Tile::tiles_bytes);
    const uint32_t a = shared_address(stage), b = a + 2 * Tile::a_bytes;

    const int thread = thread_index(), lane = thread % 32, warp = thread / 32;
    const int warp_m = warp % Tile::WARPS_M, warp_n = warp / Tile::WARPS_M;
    const Part part = part_of_block<Tile>(args);
    const int first_pixel = part.first_pixel, first_output = part.first_output;
    const Group group = args.groups[part.group];
    const bool active = first_output + warp_n * Tile::WN < args.group_outputs;  // else the warp's columns do not exist
    write_rows<Tile>(args, first_pixel, rows);

    float sums[Tile::MT][Tile::NT][4];
#pragma unroll
    for (int m = 0; m < Tile::MT; ++m)
#pragma unroll
        for (int n = 0; n < Tile::NT; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[m][n][i] = 0.0f;

    const int unit = thread % kTileUnits, first_row = thread / kTileUnits;
    const uint32_t a_write = a + swizzled(first_row, unit);  // a thread's rows agree modulo 8
    const uint32_t a_read = a + (warp_m * Tile::WM + lane % 16) * 128, a_key = (lane / 16 ^ lane % 8) << 4;
    const uint32_t b_read = b + (warp_n * Tile::WN + lane % 8 + lane / 16 * 8) * 128;
    const uint32_t b_key = (lane / 8 % 2 ^ lane % 8) << 4;
    for (int p = group.first_phase; p < group.first_phase + group.phases; ++p) {
        const Phase phase = args.phases[p];
        const int from = max(phase.first_tile, part.begin), to = min(phase.first_tile + phase.tiles, part.end);
        if (from >= to) continue;

        sync_block();  // the phase before has been multiplied
        copy_weights<Tile>(args, from, first_output, b);
        make_samples<Tile>(args, phase, first_pixel, samples);
        sync_block();
        int32_t entry = args.table[from * kTileUnits + unit];
        int32_t next_entry = from + 1 < to ? args.table[(from + 1) * kTileUnits + unit] : kNoUnit;
#pragma unroll
        for (int i = 0; i < Tile::ITEMS; i += Tile::PAIR) {
            Gather<T> gathers[Tile::PAIR];
#pragma unroll
            for (int j = 0; j < Tile::PAIR; ++j)
                start_gather<Tile>(args, entry, first_row + (i + j) * Tile::ROWS, samples, gathers[j]);
#pragma unroll
            for (int j = 0; j < Tile::PAIR; ++j) finish_gather(gathers[j], a_write + (i + j) * Tile::ROWS * 128);
        }

        for (int tile = from; tile < to; ++tile) {
            const int now = (tile - from) & 1, next = now ^ 1;
            copy_wait();
            sync_block();  // this k-tile is complete, and the one before has been multiplied
            const bool more = tile + 1 < to;
            if (more) {
                copy_weights<Tile>(args, tile + 1, first_output, b + next * Tile::b_bytes);
                entry = next_entry;
                next_entry = tile + 2 < to ? args.table[(tile + 2) * kTileUnits + unit] : kNoUnit;
            }
            // A step starts some of the thread's items; they are on their way while the tensor cores work.
            constexpr int EVERY = Tile::ITEMS < Tile::STEPS ? Tile::STEPS / Tile::ITEMS : 1;
            constexpr int AT_ONCE = Tile::ITEMS > Tile::STEPS ? Tile::ITEMS / Tile::STEPS : 1;
            Gather<T> gathers[AT_ONCE];
#pragma unroll
            for (int step = 0; step < Tile::STEPS; ++step) {
                const int item = step / EVERY * AT_ONCE;
                if (more && step % EVERY == 0) {
#pragma unroll
                    for (int i = 0; i < AT_ONCE; ++i)
                        start_gather<Tile>(args, entry, first_row + (item + i) * Tile::ROWS, samples, gathers[i]);
                }
                if (active)
                    multiply_step<Tile>(sums, a_read + now * Tile::a_bytes, b_read + now * Tile::b_bytes, a_key, b_key,
                                        step);
                if (more && step % EVERY == EVERY - 1) {
#pragma unroll
                    for (int i = 0; i < AT_ONCE; ++i)
                        finish_gather(gathers[i], a_write + next * Tile::a_bytes + (item + i) * Tile::ROWS * 128);
                }
            }
        }
    }

    sync_block();  // rows are written, and the tiles that the results go over have been multiplied
    if (part.whole)
        write_output<Tile>(args, sums, rows, stage, part, warp_m, warp_n, lane);
    else
        write_partial<Tile>(args, sums, part, warp_m, warp_n, lane);
}

// The sum of the splits and the bias, 32 pixels by 32 channels a block of 256 threads.
template <typename T>
DCNV2_KERNEL(256, 4)
reduce_kernel(const Arguments args) {
    float* tile = reinterpret_cast<float*>(shared_memory());  // [32][33]
    const int lane = thread_index() % 32, line = thread_index() / 32;
    const int first = block_x() * 32, first_channel = block_y() * 32, pixels = args.pixels - args.first_partial;
    for (int i = line; i < 32; i += 8) {
        const int pixel = first + i, channel = first_channel + lane;
        float sum = 0.0f;
        if (pixel < pixels && channel < args.out_channels) {
            for (int split = 0; split < args.splits; ++split)
                sum += args.partial[(static_cast<int64_t>(split) * pixels + pixel) * args.out_channels + channel];
            sum += args.bias[channel];
        }
        tile[i * 33 + lane] = sum;
    }
    sync_block();
    T* output = static_cast<T*>(args.output);
    for (int i = line; i < 32; i += 8) {
        const int pixel = args.output_is_nhwc ? i : lane, channel = args.output_is_nhwc ? lane : i;
        if (first + pixel >= pixels || first_channel + channel >= args.out_channels) continue;
        const Pixel at = pixel_at(args.first_partial + first + pixel, args.out_height, args.out_width);
        const int64_t to =
            args.output_is_nhwc
                ? ((static_cast<int64_t>(at.image) * args.out_height + at.y) * args.out_width + at.x) * args.out_channels +
                      first_channel + channel
                : ((static_cast<int64_t>(at.image) * args.out_channels + first_channel + channel) * args.out_height + at.y) *
                          args.out_width +
                      at.x;
        convert(tile[pixel * 33 + channel], output[to]);
    }
}

struct RelayoutArguments {
    const void* from;
    void* to;
    const int32_t* channels;  // plan.h's padded channel to channel
    int32_t pixels, area, source_channels, units, from_nhwc;
};

// x into [pixel][padded units], 64 pixels by 8 units a block of 256 threads.
template <typename T>
DCNV2_KERNEL(256, 4)
relayout_kernel(const RelayoutArguments args) {
    constexpr int UNIT = 16 / sizeof(T), WIDTH = kTileUnits * UNIT, PITCH = WIDTH * sizeof(T) + 16;
    unsigned char* tile = shared_memory();  // [64][PITCH]
    const int first_pixel = block_x() * 64, first_unit = block_y() * kTileUnits;
    const int width = min(args.units - first_unit, kTileUnits) * UNIT;
    const T* from = static_cast<const T*>(args.from);
    for (int i = thread_index(); i < 64 * WIDTH; i += 256) {
        const int row = args.from_nhwc ? i / WIDTH : i % 64, column = args.from_nhwc ? i % WIDTH : i / 64;
        const int pixel = first_pixel + row;
        T value;
        convert(0.0f, value);
        if (column < width && pixel < args.pixels) {
            const int channel = args.channels[first_unit * UNIT + column];
            const int image = pixel / args.area;
            if (channel >= 0)
                value = from[args.from_nhwc
                                 ? static_cast<int64_t>(pixel) * args.source_channels + channel
                                 : (static_cast<int64_t>(image) * args.source_channels + channel) * args.area + pixel -
                                       image * args.area];
        }
        reinterpret_cast<T*>(tile + row * PITCH)[column] = value;
    }
    sync_block();
    for (int i = thread_index(); i < 64 * kTileUnits; i += 256) {
        const int row = i / kTileUnits, unit = i % kTileUnits;
        if (first_pixel + row >= args.pixels || unit * UNIT >= width) continue;
        static_cast<Vec16*>(args.to)[static_cast<int64_t>(first_pixel + row) * args.units + first_unit + unit] =
            *reinterpret_cast<const Vec16*>(tile + row * PITCH + unit * 16);
    }
}

}  // namespace dcnv2
