// The C interface: checks, the choice of block shape, and the launches. Also compiled as plain C++ with the emulator.
#include "dcnv2.h"

#include <atomic>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <memory>

#include "blob.h"
#include "kernel.h"
#ifdef DCNV2_WGMMA
#include "hopper.h"
#endif

namespace dcnv2 {
namespace {

thread_local char last_error[512] = "";

int fail(const char* format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(last_error, sizeof(last_error), format, values);
    va_end(values);
    return 1;
}

constexpr size_t kSplitBytes = 16 << 20;  // of workspace that splitting may use
constexpr int kMaxSplits = 8;

struct Shape {  // of a block
    const char* name;
    int bm, bn, warps_m, warps_n, blocks;
    bool by_groups;  // hopper.h's
    Order order;     // of the weights
    int groups_n, groups_k, flight;
    double slower;   // than expected_cycles says, as measured
    size_t (*shared_bytes)(int slots);
    void (*kernel)(Arguments);
    int threads() const { return warps_m * warps_n * groups_k * 32; }
};

template <typename Tile>
Shape shape(const char* name, double slower = 1) {
    return {name, Tile::BM, Tile::BN, Tile::WARPS_M, Tile::WARPS_N, Tile::BLOCKS, false, kInOrder,
            1,    1,        1,        slower,        Tile::shared_bytes, deform_kernel<Tile>};
}

#ifdef DCNV2_WGMMA
// Named by pixels x channels; s or r: samples in shared memory or registers; f: items on their way, n and k: warpgroups
// that divide channels or k-tiles, b: blocks on a multiprocessor.
template <typename Tile>
Shape group_shape(const char* name, double slower = 1) {
    return {name,           Tile::BM,       Tile::BN,     Tile::WARPS_M, Tile::WARPS_N,
            Tile::BLOCKS,   true,           Tile::REGISTERS ? kForRegisters : kInOrder,
            Tile::GROUPS_N, Tile::GROUPS_K, Tile::FLIGHT, slower,        Tile::shared_bytes,
            deform_kernel_by_groups<Tile>};
}
#endif

const std::vector<Shape>& shapes(int data_type) {
    static const std::vector<Shape> half = {
        shape<Tile<half_t, 128, 256, 4, 4, 1>>("128x256", 1.29), shape<Tile<half_t, 128, 192, 4, 4, 1>>("128x192", 1.23),
        shape<Tile<half_t, 128, 160, 4, 2, 1>>("128x160", 1.54), shape<Tile<half_t, 128, 128, 4, 2, 2>>("128x128", 1.26),
        shape<Tile<half_t, 128, 96, 4, 2, 2>>("128x96", 1.15),   shape<Tile<half_t, 128, 64, 4, 2, 2>>("128x64", 1.15),
        shape<Tile<half_t, 64, 256, 2, 4, 2>>("64x256", 1.28),   shape<Tile<half_t, 64, 128, 2, 4, 2>>("64x128", 1.12),
        shape<Tile<half_t, 64, 64, 2, 2, 4>>("64x64", 1.13),     shape<Tile<half_t, 64, 32, 4, 1, 4>>("64x32", 1.07),
        shape<Tile<half_t, 32, 128, 1, 4, 3>>("32x128", 1.08),
#ifdef DCNV2_WGMMA
        group_shape<GroupTile<128, 256, 1, 1, false, 4, 1>>("128x256s-f4b1", 1.32),
        group_shape<GroupTile<128, 192, 2, 1, false, 2, 1>>("128x192s-f2n2b1", 1.35),
        group_shape<GroupTile<192, 160, 1, 1, false, 2, 1>>("192x160s-f2b1", 1.29),
        group_shape<GroupTile<128, 128, 1, 1, false, 2, 2>>("128x128s-f2b2", 1.20),
        group_shape<GroupTile<128, 64, 1, 1, false, 4, 2>>("128x64s-f4b2", 1.17),
        group_shape<GroupTile<128, 160, 1, 1, true, 4, 1>>("128x160r-b1", 1.62),
        group_shape<GroupTile<64, 128, 1, 2, true, 4, 1>>("64x128r-k2b1", 1.46),
#endif
    };
    static const std::vector<Shape> single = {
        shape<Tile<float, 128, 128, 4, 2, 2>>("128x128", 1.002), shape<Tile<float, 128, 64, 4, 2, 2>>("128x64"),
        shape<Tile<float, 64, 128, 2, 4, 2>>("64x128"),   shape<Tile<float, 64, 64, 2, 2, 3>>("64x64"),
        shape<Tile<float, 64, 32, 4, 1, 4>>("64x32"),
    };
    return data_type == DCNV2_HALF ? half : single;
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Sizes {
    int32_t out_height, out_width;
    int64_t pixels;  // of the output
};

int output_size(const dcnv2_layer& l, int32_t height, int32_t width, int32_t* out_height, int32_t* out_width) {
    *out_height = (height + 2 * l.padding_h - l.dilation_h * (l.kernel_h - 1) - 1) / l.stride_h + 1;
    *out_width = (width + 2 * l.padding_w - l.dilation_w * (l.kernel_w - 1) - 1) / l.stride_w + 1;
    if (height + 2 * l.padding_h < l.dilation_h * (l.kernel_h - 1) + 1 ||
        width + 2 * l.padding_w < l.dilation_w * (l.kernel_w - 1) + 1)
        return fail("a picture of %d x %d is smaller than the kernel (%d x %d, dilation %d x %d, padding %d x %d)", height,
                    width, l.kernel_h, l.kernel_w, l.dilation_h, l.dilation_w, l.padding_h, l.padding_w);
    return 0;
}

int check_call(const dcnv2_layer& layer, int units, const dcnv2_call& call, Sizes* sizes) {
    if (call.batch < 1 || call.height < 1 || call.width < 1)
        return fail("batch %d, height %d, width %d: each must be at least 1", call.batch, call.height, call.width);
    for (int layout : {call.input_layout, call.output_layout, call.offset_layout})
        if (layout != DCNV2_NCHW && layout != DCNV2_NHWC) return fail("layout %d is unknown: 0 is NCHW, 1 is NHWC", layout);
    if (call.offset_type != DCNV2_FLOAT && call.offset_type != DCNV2_HALF)
        return fail("offset type %d is unknown: 0 is fp32, 1 is fp16", call.offset_type);
    if (layer.data_type == DCNV2_FLOAT && call.offset_type != DCNV2_FLOAT)
        return fail("fp32 x needs fp32 offset and mask, these are fp16");
    const int shapes_here = static_cast<int>(shapes(layer.data_type).size());
    if (call.tile < -1 || call.tile >= shapes_here)
        return fail("tile %d is unknown: 0 to %d, or -1 to have one chosen", call.tile, shapes_here - 1);
    if (call.splits < 0 || call.splits > 64) return fail("splits is %d: 1 to 64, or 0 to have it chosen", call.splits);
    if (output_size(layer, call.height, call.width, &sizes->out_height, &sizes->out_width)) return 1;
    sizes->pixels = static_cast<int64_t>(call.batch) * sizes->out_height * sizes->out_width;
    if (sizes->pixels >= INT32_MAX || static_cast<int64_t>(call.batch) * call.height * call.width * units >= INT32_MAX)
        return fail("batch %d of %d x %d with %d channels is too large for 32-bit places", call.batch, call.height,
                    call.width, layer.channels);
    return 0;
}

size_t relayout_bytes(bool direct, int units, const dcnv2_call& call) {
    if (direct && call.input_layout == DCNV2_NHWC) return 0;
    const size_t bytes = static_cast<size_t>(call.batch) * call.height * call.width * units * 16;
    return (bytes + 255) / 256 * 256;
}

// Blocks of a shape that are on one multiprocessor together; 0 where one has too little shared memory.
int blocks_together(const Shape& s, const Plan& plan, const Machine& machine) {
    const int bytes = static_cast<int>(s.shared_bytes(plan.max_slots));
    return bytes > machine.block_bytes ? 0 : std::min(s.blocks, machine.multiprocessor_bytes / (bytes + 1024));
}

// How a call is divided: whole blocks fill the multiprocessors as often as they can, what is left may be split.
struct Blocks {
    int pixels, whole;  // blocks of pixels
    int across;         // blocks of a group's output channels
    int64_t at_once;    // blocks of the GPU
};

Blocks divide_blocks(const dcnv2_layer& layer, const Plan& plan, const Sizes& sizes, const Shape& s, int splits,
                     const Machine& machine) {
    Blocks blocks = {};
    blocks.pixels = static_cast<int>(divide_up(sizes.pixels, s.bm));
    blocks.across = static_cast<int>(divide_up(layer.out_channels / layer.groups, s.bn));
    blocks.at_once = static_cast<int64_t>(machine.multiprocessors) * blocks_together(s, plan, machine);
    const int64_t filling = std::max<int64_t>(blocks.at_once / (blocks.across * layer.groups), 1);
    blocks.whole = splits == 1 ? blocks.pixels : static_cast<int>(blocks.pixels / filling * filling);
    return blocks;
}

size_t partial_bytes(const dcnv2_layer& layer, const Sizes& sizes, const Shape& s, const Blocks& blocks, int splits) {
    const int64_t pixels = blocks.whole == blocks.pixels ? 0 : sizes.pixels - static_cast<int64_t>(blocks.whole) * s.bm;
    return static_cast<size_t>(splits * pixels * layer.out_channels) * sizeof(float);
}

// Clock cycles that a block shape is expected to take, from what its parts cost on a multiprocessor. A sweep
// (benchmarks/dcnv2.py --sweep) shows how right it is: kCosts and each shape's `slower` are what to correct then.
constexpr struct {
    double mma = 6.5;           // a multiprocessor's cycles for one mma.m16n8k16, against 4 at its peak; four at a time
    double wgmma = 0.55;        // and for a column of a wgmma.m64nNk16, against 0.5
    double miss = 1.5;          // the gather's loads, against all in the L1 cache
    double latency = 1100;      // of a k-tile, however little else there is to do
    double load = 400;          // the same for warpgroups: each time that they wait for items, and for what is not
    double shared = 300, registers = 600;  // done meanwhile, with samples in shared memory or registers
    double block = 5000, reduce = 6000;
    double partial_bytes = 1500;  // a cycle, of the GPU
} kCosts;

double expected_cycles(const dcnv2_layer& layer, const Plan& plan, const Sizes& sizes, const Shape& s, int splits,
                       const Machine& machine) {
    const double product = layer.data_type == DCNV2_HALF ? 1 : 3;  // of tensor-core time, against fp16
    const Blocks blocks = divide_blocks(layer, plan, sizes, s, splits, machine);
    // Of one k-tile: the tensor cores, and the shared memory and L1 that are one unit: fragments or matrices read,
    // samples loaded and written, weights written. In all a warpgroup's shapes read the weights once for 64 pixels.
    double tensor, read, latency = kCosts.latency;
    if (s.by_groups) {
        tensor = s.bm / 64.0 * s.bn * 4 * kCosts.wgmma;
        read = s.bm / 64.0 * s.bn + s.bm * (s.order == kInOrder ? 1.0 * s.groups_n + 1 : 0.5);
        latency = kCosts.load * 4 / s.groups_n / s.flight + (s.order == kInOrder ? kCosts.shared : kCosts.registers);
    } else {
        tensor = s.bm / 16.0 * s.bn / 8.0 * 4 * kCosts.mma / 4 * product;
        read = s.warps_m * s.warps_n * (s.bm / s.warps_m / 16.0 + s.bn / s.warps_n / 16.0) * 4 * 4 + s.bm;
    }
    const double memory = read + s.bm * (4 * kCosts.miss + 0.5) + s.bn;
    auto wave = [&](int64_t count, int parts) {  // blocks at once that each make one of so many parts of the sum
        const double together = static_cast<double>(divide_up(count, machine.multiprocessors)) * s.groups_k;
        const double tile = std::max({tensor * together, memory * together, latency}) * s.slower;
        return tile * static_cast<double>(divide_up(divide_up(plan.max_tiles, parts), s.groups_k)) + kCosts.block;
    };
    const int64_t all = static_cast<int64_t>(blocks.pixels) * blocks.across * layer.groups;
    const int64_t whole = splits == 1 ? all / blocks.at_once * blocks.at_once
                                      : static_cast<int64_t>(blocks.whole) * blocks.across * layer.groups;
    const int64_t rest = (all - whole) * splits;
    double cycles = static_cast<double>(divide_up(whole, blocks.at_once)) * wave(blocks.at_once, 1);
    cycles += static_cast<double>(rest / blocks.at_once) * wave(blocks.at_once, splits);
    if (rest % blocks.at_once) cycles += wave(rest % blocks.at_once, splits);
    const size_t partial = partial_bytes(layer, sizes, s, blocks, splits);
    return cycles + (partial ? kCosts.reduce + static_cast<double>(partial) * 2 / kCosts.partial_bytes : 0);
}

// Sets what of tile and splits is left open.
int choose(const dcnv2_layer& layer, const Plan& plan, const Sizes& sizes, size_t workspace, const Machine& machine,
           int32_t* tile, int32_t* splits) {
    const std::vector<Shape>& all = shapes(layer.data_type);
    double best = INFINITY;
    int best_tile = -1, best_splits = 1;
    for (int t = 0; t < static_cast<int>(all.size()); ++t) {
        if ((*tile >= 0 && t != *tile) || !blocks_together(all[t], plan, machine)) continue;
        for (int s = *splits ? *splits : 1; s <= (*splits ? *splits : kMaxSplits); ++s) {
            const Blocks blocks = divide_blocks(layer, plan, sizes, all[t], s, machine);
            if (!*splits && s > 1 &&
                (partial_bytes(layer, sizes, all[t], blocks, s) > std::min(kSplitBytes, workspace) ||
                 s * 4 > plan.max_tiles))
                break;
            const double cycles = expected_cycles(layer, plan, sizes, all[t], s, machine);
            if (cycles < best) best = cycles, best_tile = t, best_splits = s;
        }
    }
    if (best_tile < 0)
        return fail("block shape %s needs %zu bytes of shared memory for this layer, a block has %d",
                    *tile >= 0 ? all[*tile].name : "any", all[std::max(*tile, 0)].shared_bytes(plan.max_slots),
                    machine.block_bytes);
    *tile = best_tile;
    *splits = best_splits;
    return 0;
}

}  // namespace
}  // namespace dcnv2

using namespace dcnv2;

struct dcnv2_handle {
    dcnv2_layer layer;
    Plan plan;
    Machine machine = {};
    std::atomic<uint64_t> configured{0};  // a bit for each block shape
    void* memory = nullptr;  // on the device, all that follows
    const void* weights[2];  // by their order; the second for hopper.h's block shapes
    const int32_t *table, *channels;
    const Phase* phases;
    const Group* groups;
    const float* bias;
    ~dcnv2_handle() {
        if (memory) release(memory);
    }
};

extern "C" {

const char* dcnv2_error(void) { return last_error; }

int dcnv2_check(const dcnv2_layer* layer) {
    if (!layer) return fail("the layer is null");
    const struct {
        const char* name;
        int32_t value;
    } positive[] = {{"channels", layer->channels},     {"out_channels", layer->out_channels},
                    {"kernel_h", layer->kernel_h},     {"kernel_w", layer->kernel_w},
                    {"stride_h", layer->stride_h},     {"stride_w", layer->stride_w},
                    {"dilation_h", layer->dilation_h}, {"dilation_w", layer->dilation_w},
                    {"groups", layer->groups},         {"offset_groups", layer->offset_groups}};
    for (const auto& entry : positive)
        if (entry.value < 1 || entry.value > (1 << 20))
            return fail("%s is %d: it must be from 1 to %d", entry.name, entry.value, 1 << 20);
    if (layer->padding_h < 0 || layer->padding_w < 0 || layer->padding_h > (1 << 20) || layer->padding_w > (1 << 20))
        return fail("padding is %d x %d: it must not be negative", layer->padding_h, layer->padding_w);
    if (layer->channels % layer->groups || layer->out_channels % layer->groups)
        return fail("%d channels to %d do not divide into %d groups", layer->channels, layer->out_channels, layer->groups);
    if (layer->channels % layer->offset_groups)
        return fail("%d channels do not divide into %d offset groups", layer->channels, layer->offset_groups);
    if (layer->data_type != DCNV2_FLOAT && layer->data_type != DCNV2_HALF)
        return fail("data type %d is unknown: 0 is fp32, 1 is fp16", layer->data_type);
    if (layer->mask < DCNV2_MASK_NONE || layer->mask > DCNV2_MASK_LOGITS)
        return fail("mask %d is unknown: 0 is none, 1 as given, 2 sigmoid's input", layer->mask);
    if (layer->combined < 0 || layer->combined > 1 || (layer->combined && layer->mask == DCNV2_MASK_NONE))
        return fail("combined is %d with mask %d: one map of offset and mask needs a mask", layer->combined, layer->mask);
    if (static_cast<int64_t>(layer->channels) * layer->kernel_h * layer->kernel_w * layer->out_channels / layer->groups >
        (1ll << 31))
        return fail("%d x %d x %d x %d weights are too many", layer->out_channels, layer->channels / layer->groups,
                    layer->kernel_h, layer->kernel_w);
    return 0;
}

int dcnv2_create(const dcnv2_layer* layer, const float* weight, const float* bias, dcnv2_handle** handle) {
    if (!handle) return fail("the place for the handle is null");
    *handle = nullptr;
    if (dcnv2_check(layer)) return 1;
    if (!weight) return fail("the weights are null");
    try {
        auto made = std::make_unique<dcnv2_handle>();
        made->layer = *layer;
        made->plan = make_plan(*layer);
        const Plan& plan = made->plan;
        const bool half = layer->data_type == DCNV2_HALF;
        auto pack = [&](Order order) {
            return half ? pack_weights<half_t>(*layer, plan, weight, order) : pack_weights<float>(*layer, plan, weight, order);
        };
        std::vector<unsigned char> all;
        auto append = [&](const void* from, size_t bytes) {
            const size_t at = all.size();
            all.resize((at + bytes + 255) / 256 * 256);
            memcpy(all.data() + at, from, bytes);
            return at;
        };
        const std::vector<float> zeros(layer->out_channels, 0.0f);
        const std::vector<unsigned char> weights = pack(kInOrder);
        const size_t weights_at = append(weights.data(), weights.size());
        size_t for_registers_at = weights_at;
        for (const Shape& shape : shapes(layer->data_type))
            if (shape.order == kForRegisters && for_registers_at == weights_at)
                for_registers_at = append(pack(kForRegisters).data(), weights.size());
        const size_t table_at = append(plan.table.data(), plan.table.size() * sizeof(int32_t));
        const size_t channels_at = append(plan.channels.data(), plan.channels.size() * sizeof(int32_t));
        const size_t phases_at = append(plan.phases.data(), plan.phases.size() * sizeof(Phase));
        const size_t groups_at = append(plan.groups.data(), plan.groups.size() * sizeof(Group));
        const size_t bias_at = append(bias ? bias : zeros.data(), zeros.size() * sizeof(float));
        const char* error = describe_machine(&made->machine);
        if (!error) error = allocate(&made->memory, all.size());
        if (!error) error = upload(made->memory, all.data(), all.size());
        if (error) return fail("cannot put %zu bytes of weights on the GPU: %s", all.size(), error);
        const unsigned char* memory = static_cast<const unsigned char*>(made->memory);
        made->weights[kInOrder] = memory + weights_at;
        made->weights[kForRegisters] = memory + for_registers_at;
        made->table = reinterpret_cast<const int32_t*>(memory + table_at);
        made->channels = reinterpret_cast<const int32_t*>(memory + channels_at);
        made->phases = reinterpret_cast<const Phase*>(memory + phases_at);
        made->groups = reinterpret_cast<const Group*>(memory + groups_at);
        made->bias = reinterpret_cast<const float*>(memory + bias_at);
        *handle = made.release();
    } catch (const std::exception& error) {
        return fail("cannot repack the weights: %s", error.what());
    }
    return 0;
}

void dcnv2_destroy(dcnv2_handle* handle) { delete handle; }

int dcnv2_output_size(const dcnv2_layer* layer, int32_t height, int32_t width, int32_t* out_height, int32_t* out_width) {
    return dcnv2_check(layer) || output_size(*layer, height, width, out_height, out_width);
}

int dcnv2_workspace_bytes(const dcnv2_layer* layer, const dcnv2_call* call, size_t* bytes) {
    if (dcnv2_check(layer)) return 1;
    const Segments segments = make_segments(*layer);
    Sizes sizes;
    if (check_call(*layer, segments.units, *call, &sizes)) return 1;
    const size_t partial =
        call->splits > 1 ? static_cast<size_t>(call->splits * sizes.pixels * layer->out_channels) * sizeof(float) : 0;
    *bytes = relayout_bytes(segments.direct, segments.units, *call) + (call->splits == 0 ? kSplitBytes : partial);
    return 0;
}

int dcnv2_choice(dcnv2_handle* handle, const dcnv2_call* call, int32_t* tile, int32_t* splits) {
    if (!handle || !call) return fail("the handle or the call is null");
    Sizes sizes;
    if (check_call(handle->layer, handle->plan.units, *call, &sizes)) return 1;
    *tile = call->tile;
    *splits = call->splits;
    return choose(handle->layer, handle->plan, sizes, kSplitBytes, handle->machine, tile, splits);
}

const char* dcnv2_tile(int32_t data_type, int32_t tile) {
    const std::vector<Shape>& all = shapes(data_type);
    return tile >= 0 && tile < static_cast<int32_t>(all.size()) ? all[tile].name : nullptr;
}

int dcnv2_write_blob(const dcnv2_layer* layer, const float* weight, const float* bias, void* to, size_t* bytes) {
    if (dcnv2_check(layer)) return 1;
    *bytes = blob_bytes(*layer);
    if (to) write_blob(*layer, weight, bias, to);
    return 0;
}

int dcnv2_check_blob(const void* data, size_t bytes) {
    dcnv2_layer layer;
    std::vector<float> weight, bias;
    const std::string error = read_blob(data, bytes, &layer, &weight, &bias);
    return error.empty() ? 0 : fail("%s", error.c_str());
}

int dcnv2_forward(dcnv2_handle* handle, const dcnv2_call* call, const void* x, const void* offset, const void* mask,
                  void* output, void* workspace, size_t workspace_bytes, void* stream) {
    if (!handle || !call) return fail("the handle or the call is null");
    const dcnv2_layer& layer = handle->layer;
    const Plan& plan = handle->plan;
    Sizes sizes;
    if (check_call(layer, plan.units, *call, &sizes)) return 1;
    const bool separate_mask = layer.mask != DCNV2_MASK_NONE && !layer.combined;
    if (!x || !offset || !output || (separate_mask && !mask))
        return fail("x, offset, output%s must not be null", separate_mask ? ", mask" : "");
    for (const void* pointer : {x, static_cast<const void*>(output), static_cast<const void*>(workspace)})
        if (reinterpret_cast<uintptr_t>(pointer) % 16) return fail("x, output and workspace must be aligned to 16 bytes");
    const size_t relayout = relayout_bytes(plan.direct, plan.units, *call);
    if (workspace_bytes < relayout || (relayout && !workspace))
        return fail("the workspace has %zu bytes, %zu are needed", workspace ? workspace_bytes : 0, relayout);

    int32_t tile = call->tile, splits = call->splits;
    const size_t left = workspace ? workspace_bytes - relayout : 0;
    if (choose(layer, plan, sizes, left, handle->machine, &tile, &splits)) return 1;
    const Shape& shape = shapes(layer.data_type)[tile];
    const Blocks blocks = divide_blocks(layer, plan, sizes, shape, splits, handle->machine);
    const size_t partial = partial_bytes(layer, sizes, shape, blocks, splits);
    if (partial > left) return fail("%d splits need %zu bytes of workspace, %zu are left", splits, partial, left);
    if (blocks.whole == blocks.pixels) splits = 1;
    const bool half = layer.data_type == DCNV2_HALF;

    const char* error = nullptr;
    if (relayout) {
        RelayoutArguments arguments = {};
        arguments.from = x;
        arguments.to = workspace;
        arguments.channels = handle->channels;
        arguments.area = call->height * call->width;
        arguments.pixels = call->batch * arguments.area;
        arguments.source_channels = layer.channels;
        arguments.units = plan.units;
        arguments.from_nhwc = call->input_layout == DCNV2_NHWC;
        const Grid grid = {static_cast<int>(divide_up(arguments.pixels, 64)),
                           static_cast<int>(divide_up(plan.units, kTileUnits)), 1};
        error = launch(half ? relayout_kernel<half_t> : relayout_kernel<float>, grid, 256, 64 * (128 + 16), stream,
                       arguments);
        if (error) return fail("cannot launch the copy of x: %s", error);
    }

    Arguments arguments = {};
    arguments.x = relayout ? workspace : x;
    arguments.offset = offset;
    const int64_t area = static_cast<int64_t>(sizes.out_height) * sizes.out_width;
    const int64_t slots = static_cast<int64_t>(layer.offset_groups) * layer.kernel_h * layer.kernel_w;
    const bool offset_nhwc = call->offset_layout == DCNV2_NHWC;
    auto stored = [&](int64_t channels) { return offset_nhwc ? (channels + 7) / 8 * 8 : channels; };
    const int64_t offset_channels = stored(layer.combined ? 3 * slots : 2 * slots);
    const int64_t mask_channels = layer.combined ? offset_channels : stored(slots);
    arguments.offset_batch_stride = offset_channels * area;
    arguments.mask_batch_stride = mask_channels * area;
    arguments.offset_channel_stride = arguments.mask_channel_stride = static_cast<int32_t>(offset_nhwc ? 1 : area);
    arguments.offset_pixel_stride = static_cast<int32_t>(offset_nhwc ? offset_channels : 1);
    arguments.mask_pixel_stride = static_cast<int32_t>(offset_nhwc ? mask_channels : 1);
    arguments.offset_is_half = call->offset_type == DCNV2_HALF;
    const int64_t element = arguments.offset_is_half ? 2 : 4;
    arguments.mask = layer.combined
                         ? static_cast<const char*>(offset) + 2 * slots * arguments.offset_channel_stride * element
                         : mask;
    arguments.mask_mode = layer.mask;
    arguments.weights = handle->weights[shape.order];
    arguments.bias = handle->bias;
    arguments.table = handle->table;
    arguments.phases = handle->phases;
    arguments.groups = handle->groups;
    arguments.output = output;
    arguments.partial =
        splits > 1 ? reinterpret_cast<float*>(static_cast<char*>(workspace) + relayout) : nullptr;
    arguments.whole = blocks.whole;
    arguments.first_partial = blocks.whole * shape.bm;
    arguments.splits = splits;
    arguments.output_is_nhwc = call->output_layout == DCNV2_NHWC;
    arguments.height = call->height;
    arguments.width = call->width;
    arguments.units = plan.units;
    arguments.out_height = sizes.out_height;
    arguments.out_width = sizes.out_width;
    arguments.pixels = static_cast<int32_t>(sizes.pixels);
    arguments.out_channels = layer.out_channels;
    arguments.group_outputs = layer.out_channels / layer.groups;
    arguments.taps = layer.kernel_h * layer.kernel_w;
    arguments.kernel_w = layer.kernel_w;
    arguments.stride_h = layer.stride_h;
    arguments.stride_w = layer.stride_w;
    arguments.padding_h = layer.padding_h;
    arguments.padding_w = layer.padding_w;
    arguments.dilation_h = layer.dilation_h;
    arguments.dilation_w = layer.dilation_w;

    if (!(handle->configured >> tile & 1)) {
        const int64_t used = blocks_together(shape, plan, handle->machine) * (shape.shared_bytes(plan.max_slots) + 1024);
        error = configure(shape.kernel, handle->machine,
                          static_cast<int>(std::min<int64_t>(100, divide_up(used * 100, handle->machine.multiprocessor_bytes))));
        if (error) return fail("cannot give the kernel its shared memory: %s", error);
        handle->configured |= uint64_t{1} << tile;
    }
    const Grid grid = {static_cast<int>(blocks.whole + (blocks.pixels - blocks.whole) * splits) * blocks.across,
                       layer.groups, 1};
    if (grid.y > 65535) return fail("%d groups are too many", layer.groups);
    error = launch(shape.kernel, grid, shape.threads(), shape.shared_bytes(plan.max_slots), stream, arguments);
    if (error) return fail("cannot launch the kernel with block shape %s: %s", shape.name, error);
    if (splits > 1) {
        const Grid sums = {static_cast<int>(divide_up(sizes.pixels - arguments.first_partial, 32)),
                           static_cast<int>(divide_up(layer.out_channels, 32)), 1};
        error = launch(half ? reduce_kernel<half_t> : reduce_kernel<float>, sums, 256, 32 * 33 * sizeof(float), stream,
                       arguments);
        if (error) return fail("cannot launch the sum of the splits: %s", error);
    }
    return 0;
}

}  // extern "C"
