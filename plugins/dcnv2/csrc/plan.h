// How the sum of a deformable convolution is laid out for the kernel, made once on the host.
//
// The sum runs over channels and taps. A unit is 16 bytes of neighbouring channels at one tap: 8 in fp16, 4 in fp32.
// A k-tile is 8 units, which one block gathers and multiplies at a time. All channels of a unit belong to one group and
// one offset group; where C does not divide so, x is copied first into a layout with each such segment padded.
//
// Units are in the order: 8 neighbouring units (128 bytes) of channels, then taps, so that what one tap reads is still in
// the L1 cache when the next tap reads around it. A phase is a run of k-tiles whose slots (pairs of offset group and tap)
// fit into shared memory together; usually there is one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "dcnv2.h"
#include "device.h"

namespace dcnv2 {

constexpr int kTileUnits = 8;
constexpr int kMaxSlots = 36;
constexpr int kSlotShift = 24;  // an entry of the table: slot << 24 | unit of channels
constexpr int32_t kNoUnit = -1;

struct Phase {
    int32_t first_tile, tiles, first_slot, slots;
};

struct Group {
    int32_t first_phase, phases, first_tile, tiles;
};

struct Plan {
    bool direct = true;              // x can be read as it is where it is NHWC
    int units = 0;                   // of one pixel, padded
    int max_slots = 0, max_tiles = 0;
    std::vector<int32_t> channels;   // padded channel to channel, -1 for padding
    std::vector<int32_t> table;      // 8 entries for each k-tile
    std::vector<Phase> phases;
    std::vector<Group> groups;
};

inline int unit_size(const dcnv2_layer& layer) { return layer.data_type == DCNV2_HALF ? 8 : 4; }

// Channels of one group and one offset group.
struct Segment {
    int group, offset_group, from, to, first_unit, units;
};

struct Segments {
    std::vector<Segment> all;
    bool direct = true;
    int units = 0;
};

inline Segments make_segments(const dcnv2_layer& layer) {
    Segments segments;
    const int size = unit_size(layer), per_offset = layer.channels / layer.offset_groups;
    const int per_group = layer.channels / layer.groups;
    for (int from = 0; from < layer.channels;) {
        const int group = from / per_group, offset_group = from / per_offset;
        const int to = std::min((group + 1) * per_group, (offset_group + 1) * per_offset);
        const int units = (to - from + size - 1) / size;
        segments.all.push_back({group, offset_group, from, to, segments.units, units});
        segments.direct = segments.direct && from % size == 0 && to % size == 0;
        segments.units += units;
        from = to;
    }
    return segments;
}

inline Plan make_plan(const dcnv2_layer& layer) {
    Plan plan;
    const int size = unit_size(layer), taps = layer.kernel_h * layer.kernel_w;
    const Segments all = make_segments(layer);
    plan.direct = all.direct;
    plan.units = all.units;
    for (const Segment& segment : all.all)
        for (int i = 0; i < segment.units * size; ++i)
            plan.channels.push_back(segment.from + i < segment.to ? segment.from + i : -1);
    for (int group = 0; group < layer.groups; ++group) {
        std::vector<Segment> segments;
        for (const Segment& segment : all.all)
            if (segment.group == group) segments.push_back(segment);
        Group entry = {static_cast<int32_t>(plan.phases.size()), 0, static_cast<int32_t>(plan.table.size()) / kTileUnits, 0};
        auto add = [&](const Segment& segment, int first_slot, int first_tap, int end_tap) {
            for (int from = 0; from < segment.units; from += kTileUnits)
                for (int tap = first_tap; tap < end_tap; ++tap)
                    for (int unit = from; unit < std::min(from + kTileUnits, segment.units); ++unit)
                        plan.table.push_back((segment.offset_group * taps + tap - first_slot) << kSlotShift |
                                             (segment.first_unit + unit));
        };
        auto close = [&](int first_tile, int first_slot, int slots) {
            while (plan.table.size() % kTileUnits) plan.table.push_back(kNoUnit);
            const int end = static_cast<int>(plan.table.size()) / kTileUnits;
            plan.phases.push_back({first_tile, end - first_tile, first_slot, slots});
            plan.max_slots = std::max(plan.max_slots, slots);
            return end;
        };
        int tile = entry.first_tile;
        const int first_slot = segments.front().offset_group * taps, slots = static_cast<int>(segments.size()) * taps;
        if (slots <= kMaxSlots) {
            for (const Segment& segment : segments) add(segment, first_slot, 0, taps);
            tile = close(tile, first_slot, slots);
        } else {
            for (const Segment& segment : segments)
                for (int tap = 0; tap < taps; tap += kMaxSlots) {
                    const int end = std::min(tap + kMaxSlots, taps), first = segment.offset_group * taps + tap;
                    add(segment, first, tap, end);
                    tile = close(tile, first, end - tap);
                }
        }
        entry.phases = static_cast<int32_t>(plan.phases.size()) - entry.first_phase;
        entry.tiles = tile - entry.first_tile;
        plan.max_tiles = std::max(plan.max_tiles, entry.tiles);
        plan.groups.push_back(entry);
    }
    return plan;
}

// The order of one output channel's 8 units in a k-tile: as they come, or as hopper.h's samples lie in registers. There
// a lane q of four has units q and q + 4 whole, and gives two words of them to each product of 16.
enum Order { kInOrder, kForRegisters };

inline int place_in_row(Order order, int unit, int element, int size) {
    if (order == kInOrder) return unit * size + element;
    return (unit / 4 * 2 + element / 4) * 16 + element / 2 % 2 * 8 + unit % 4 * 2 + element % 2;
}

// Weights as the kernel reads them: [k-tile][output channel of the group][8 units], zero where there is no channel.
template <typename T>
std::vector<unsigned char> pack_weights(const dcnv2_layer& layer, const Plan& plan, const float* weight, Order order) {
    const int size = unit_size(layer), taps = layer.kernel_h * layer.kernel_w;
    const int per_group = layer.channels / layer.groups, outputs = layer.out_channels / layer.groups;
    std::vector<unsigned char> packed(plan.table.size() * outputs * 16);
    T* to = reinterpret_cast<T*>(packed.data());
    for (int g = 0; g < layer.groups; ++g) {
        const Group& group = plan.groups[g];
        for (int p = group.first_phase; p < group.first_phase + group.phases; ++p) {
            const Phase& phase = plan.phases[p];
            for (int tile = phase.first_tile; tile < phase.first_tile + phase.tiles; ++tile)
                for (int o = 0; o < outputs; ++o, to += kTileUnits * size)
                    for (int u = 0; u < kTileUnits; ++u)
                        for (int i = 0; i < size; ++i) {
                            const int32_t entry = plan.table[tile * kTileUnits + u];
                            const int channel =
                                entry == kNoUnit ? -1 : plan.channels[(entry & ((1 << kSlotShift) - 1)) * size + i];
                            const int tap = ((entry >> kSlotShift) + phase.first_slot) % taps;
                            const int64_t row = static_cast<int64_t>(g) * outputs + o;
                            convert(channel < 0 ? 0.0f
                                                : weight[(row * per_group + channel - g * per_group) * taps + tap],
                                    to[place_in_row(order, u, i, size)]);
                        }
        }
    }
    return packed;
}

}  // namespace dcnv2
