// The fused kernel for sm_90a in fp16: as kernel.h's, with the products made by warpgroups, asynchronously.
//
// While the tensor cores multiply one k-tile, the threads gather the next. A warpgroup makes 64 pixels. Its samples come
// to the tensor cores in one of two ways:
// - through shared memory, as in kernel.h. Warpgroups that share pixels divide the output channels.
// - in registers, which takes neither room nor time of shared memory, so that more of it stays L1 cache. A thread has 4
//   items: the unit lane % 8 of two neighbouring rows, and of the two that are 8 rows further. It loads as before, 8
//   lanes a line of 128 bytes, then gives one of two neighbours' samples to lane ^ 4, so that each has the units
//   lane % 4 and lane % 4 + 4 of the row lane / 4. That is the instruction's layout with the products in another order,
//   which the weights follow (plan.h, kForRegisters). Warpgroups that share pixels divide the k-tiles and add their sums
//   at the end: for a layer with few pixels.
#pragma once

#include "kernel.h"

namespace dcnv2 {

// FLIGHT: items of a thread on their way at once. One of GROUPS_N (columns) and GROUPS_K (k-tiles) is 1.
template <int BM_, int BN_, int GROUPS_N_, int GROUPS_K_, bool REGISTERS_, int FLIGHT_, int BLOCKS_>
struct GroupTile : Tile<half_t, BM_, BN_, BM_ / 16, GROUPS_N_, BLOCKS_> {
    using Base = Tile<half_t, BM_, BN_, BM_ / 16, GROUPS_N_, BLOCKS_>;
    static constexpr int GROUPS_N = GROUPS_N_, GROUPS_K = GROUPS_K_, FLIGHT = FLIGHT_;
    static constexpr bool REGISTERS = REGISTERS_;
    static constexpr int THREADS = Base::THREADS * GROUPS_K;
    static constexpr int MANY = THREADS / BM_ == 2 ? 5 : THREADS / BM_ == 4 ? 3 : 2;  // all of 3 x 3 taps
    static constexpr int a_stages = REGISTERS ? 0 : 2, b_stages = 2 * GROUPS_K;
    static constexpr int added_bytes = (GROUPS_K - 1) * BM_ * BN_ * 4;  // sums on their way to the first warpgroup
    static constexpr int tiles_bytes = max_of(a_stages * Base::a_bytes + b_stages * Base::b_bytes, added_bytes);
    static size_t shared_bytes(int slots) {
        return block_bytes(tiles_bytes, Base::stage_bytes, slots * BM_ * sizeof(Sample<half_t>));
    }
    static_assert(BM_ % 64 == 0 && Base::ITEMS % FLIGHT == 0, "tile");
    static_assert(!REGISTERS || FLIGHT == Base::ITEMS, "all items of a k-tile are on their way while it is multiplied");
    static_assert(GROUPS_K == 1 || REGISTERS, "k-tiles are divided where samples are in registers");
    static_assert(GROUPS_N == 1 || !REGISTERS, "columns are divided where samples are in shared memory");
};

// The descriptor of a matrix at a place in shared memory: rows of 128 bytes with the 128-byte swizzle (bits 62 and 63),
// 8 rows 1024 bytes apart (bits 32 to 45, in 16 bytes); bits 16 to 29 have no meaning then. A step along K adds 32 bytes
// to the place; the permutation goes by the address, so the rest stays.
DCNV2_DEVICE uint64_t describe(uint32_t address) {
    return static_cast<uint64_t>(address >> 4 & 0x3FFF) | 1ull << 16 | static_cast<uint64_t>(1024 >> 4) << 32 | 1ull << 62;
}

// Finishes the items of the k-tile that `entry` is of, of which the first FLIGHT are on their way, and starts those that
// come FLIGHT later, at the end those of the k-tile after it.
template <typename Tile, typename Row, typename Finish>
DCNV2_DEVICE void gather_items(const Arguments& args, Gather<half_t> (&ring)[Tile::FLIGHT], int32_t entry,
                               int32_t next_entry, const Sample<half_t>* samples, Row row, Finish finish) {
#pragma unroll
    for (int i = 0; i < Tile::ITEMS; ++i) {
        finish(i, ring[i % Tile::FLIGHT]);
        const int later = i + Tile::FLIGHT;
        start_gather<Tile>(args, later < Tile::ITEMS ? entry : next_entry, row(later % Tile::ITEMS), samples,
                           ring[i % Tile::FLIGHT]);
    }
}

DCNV2_DEVICE uint32_t word_of(const Vec16& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// Two rows' samples of one unit into the fragments of the four steps: `half` is 0 for rows 0 to 7 of 16, 1 for the rest.
DCNV2_DEVICE void share_rows(const Vec16& first, const Vec16& second, int half, uint32_t (&fragments)[4][4]) {
    const bool odd = thread_index() / 4 % 2;  // has the units from 4 on, and the second row in the end
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const uint32_t mine = odd ? word_of(second, i) : word_of(first, i);
        const uint32_t got = exchange(odd ? word_of(first, i) : word_of(second, i), 4);
        fragments[i / 2][half + i % 2 * 2] = odd ? got : mine;
        fragments[2 + i / 2][half + i % 2 * 2] = odd ? mine : got;
    }
}

// The sums of the warpgroups that divided the k-tiles, for the first of them.
template <typename Tile>
DCNV2_DEVICE void add_groups(float (&sums)[1][Tile::NT][4], int group_k, float* added) {
    const int thread = thread_index() % Tile::COPIERS;
    sync_block();  // the tiles that the sums go over have been multiplied
    if (group_k > 0) {
#pragma unroll
        for (int i = 0; i < Tile::NT * 4; ++i)
            added[((group_k - 1) * Tile::NT * 4 + i) * Tile::COPIERS + thread] = sums[0][i / 4][i % 4];
    }
    sync_block();
    if (group_k > 0) return;
#pragma unroll
    for (int group = 0; group < Tile::GROUPS_K - 1; ++group)
#pragma unroll
        for (int i = 0; i < Tile::NT * 4; ++i)
            sums[0][i / 4][i % 4] += added[(group * Tile::NT * 4 + i) * Tile::COPIERS + thread];
}

template <typename Tile>
DCNV2_KERNEL(Tile::THREADS, Tile::BLOCKS)
deform_kernel_by_groups(const Arguments args) {
    int32_t* rows = reinterpret_cast<int32_t*>(shared_memory());
    unsigned char* stage = shared_memory() + kTilesAt;
    Sample<half_t>* samples = reinterpret_cast<Sample<half_t>*>(stage + Tile::tiles_bytes);

    const int thread = thread_index(), lane = thread % 32, warp = thread / 32;
    const int warp_m = warp % Tile::WARPS_M, group_m = warp_m / 4;
    const int group_n = Tile::GROUPS_N > 1 ? warp / Tile::WARPS_M : 0;
    const int group_k = Tile::GROUPS_K > 1 ? warp / Tile::WARPS_M : 0;
    const Part part = part_of_block<Tile>(args);
    const Group group = args.groups[part.group];
    const bool active = part.first_output + group_n * Tile::WN < args.group_outputs;  // else it has no columns
    write_rows<Tile>(args, part.first_pixel, rows);

    float sums[1][Tile::NT][4];
#pragma unroll
    for (int n = 0; n < Tile::NT; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[0][n][i] = 0.0f;

    const int unit = thread % kTileUnits;
    const int first_row = Tile::REGISTERS ? warp_m * 16 + lane / 8 * 2 : thread / kTileUnits;
    auto row = [&](int item) { return first_row + (Tile::REGISTERS ? item / 2 * 8 + item % 2 : item * Tile::ROWS); };
    const uint32_t a = shared_address(stage), a_write = a + swizzled(first_row, unit);  // its rows agree modulo 8
    const uint32_t b = a + Tile::a_stages * Tile::a_bytes + group_k * 2 * Tile::b_bytes;
    uint32_t fragments[4][4];

    for (int p = group.first_phase; p < group.first_phase + group.phases; ++p) {
        const Phase phase = args.phases[p];
        const int begin = max(phase.first_tile, part.begin), to = min(phase.first_tile + phase.tiles, part.end);
        const int from = begin + group_k;
        if (begin >= to) continue;
        auto entry_of = [&](int tile) { return tile < to ? args.table[tile * kTileUnits + unit] : kNoUnit; };

        sync_block();  // the phase before has been multiplied
        if (from < to) copy_weights<Tile>(args, from, part.first_output, b);
        make_samples<Tile>(args, phase, part.first_pixel, samples);
        sync_block();
        int32_t entry = entry_of(from), next_entry = entry_of(from + Tile::GROUPS_K);
        Gather<half_t> ring[Tile::FLIGHT];
#pragma unroll
        for (int i = 0; i < Tile::FLIGHT; ++i) start_gather<Tile>(args, entry, row(i), samples, ring[i]);
        auto to_shared = [&](int stage) {
            gather_items<Tile>(args, ring, entry, next_entry, samples, row, [&](int item, const Gather<half_t>& gather) {
                finish_gather(gather, a_write + stage * Tile::a_bytes + item * Tile::ROWS * 128);
            });
        };
        if constexpr (!Tile::REGISTERS) to_shared(0);

        // All warpgroups go equally often, the last time perhaps some without a k-tile.
        for (int tile = from; tile < to + group_k; tile += Tile::GROUPS_K) {
            const int now = (tile - from) / Tile::GROUPS_K & 1, next = now ^ 1;
            if constexpr (Tile::REGISTERS) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const Gather<half_t>&one = ring[half * 2], &other = ring[half * 2 + 1];
                    share_rows(blend(one.neighbours, one.sample, one.inside),
                               blend(other.neighbours, other.sample, other.inside), half, fragments);
                }
            }
            copy_wait();
            fence_async();
            sync_block();  // this k-tile is complete, and the one before has been multiplied
            if (active && tile < to) {
                const uint64_t b_now = describe(b + now * Tile::b_bytes + group_n * Tile::WN * 128);
                const uint64_t a_now = describe(a + now * Tile::a_bytes + group_m * 64 * 128);
                pin(sums[0]);  // what the products take from registers is there before they begin
                if constexpr (Tile::REGISTERS) pin(fragments);
                begin_products();
#pragma unroll
                for (int step = 0; step < 4; ++step) {
                    if constexpr (Tile::REGISTERS)
                        multiply_group(sums[0], fragments[step], b_now + step * 2);
                    else
                        multiply_group(sums[0], a_now + step * 2, b_now + step * 2);
                }
                commit_products();
            }
            if (tile + Tile::GROUPS_K < to) {
                copy_weights<Tile>(args, tile + Tile::GROUPS_K, part.first_output, b + next * Tile::b_bytes);
                entry = next_entry;
                next_entry = entry_of(tile + 2 * Tile::GROUPS_K);
                if constexpr (Tile::REGISTERS) {
#pragma unroll
                    for (int i = 0; i < Tile::ITEMS; ++i) start_gather<Tile>(args, entry, row(i), samples, ring[i]);
                } else {
                    to_shared(next);
                }
            }
            wait_products();
            pin(sums[0]);
            if constexpr (Tile::REGISTERS) pin(fragments);
        }
    }

    if constexpr (Tile::GROUPS_K > 1) add_groups<Tile>(sums, group_k, reinterpret_cast<float*>(stage));
    sync_block();  // rows are written, and the tiles that the results go over have been multiplied
    if (part.whole)
        write_output<Tile>(args, sums, rows, stage, part, warp_m, group_n, lane, group_k == 0);
    else if (group_k == 0)
        write_partial<Tile>(args, sums, part, warp_m, group_n, lane);
}

}  // namespace dcnv2
