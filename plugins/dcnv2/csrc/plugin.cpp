// The TensorRT plugin "TrtnnDCNv2": IPluginV2DynamicExt for TensorRT 8, IPluginV3 for 10 and later, one kernel.
//
// Inputs: x, offset and mask; x and offset where there is no mask; x and one map where they are combined.
// Fields: weight (fp32), bias (fp32, may be left out), out_channels, kernel_size, stride, padding, dilation (two int32
// each), groups, offset_groups, mask (0 none, 1 as given, 2 sigmoid's input), combined (0 or 1).
// Formats: x and the output fp32 linear, fp16 linear or fp16 HWC8 (channels in eights); offset and mask fp32 linear, and
// where x is fp16 also fp16 linear or HWC8.
#include <NvInferRuntime.h>
#include <NvInferVersion.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "blob.h"
#include "dcnv2.h"


namespace dcnv2 {
namespace {

using namespace nvinfer1;

constexpr char kName[] = "TrtnnDCNv2", kVersion[] = "1", kNamespace[] = "";

ILoggerFinder* logger_finder = nullptr;

void log_error(const std::string& text) {
    const std::string line = std::string(kName) + ": " + text;
    ILogger* logger = logger_finder ? logger_finder->findLogger() : nullptr;
    if (logger)
        logger->log(ILogger::Severity::kERROR, line.c_str());
    else
        fprintf(stderr, "%s\n", line.c_str());
}

// The layer, its weights, and what of them is on the GPU; the plugin's clones share one.
class Layer {
public:
    dcnv2_layer layer = {};
    std::vector<float> weight, bias;

    ~Layer() {
        for (const auto& entry : handles_) dcnv2_destroy(entry.second);
    }

    // Null where it could not be made; logged.
    dcnv2_handle* handle(DataType type) {
        dcnv2_layer typed = layer;
        typed.data_type = type == DataType::kHALF ? DCNV2_HALF : DCNV2_FLOAT;
        int device = 0;
        cudaGetDevice(&device);
        std::lock_guard<std::mutex> lock(mutex_);
        dcnv2_handle*& handle = handles_[{device, typed.data_type}];
        if (!handle && dcnv2_create(&typed, weight.data(), bias.data(), &handle)) log_error(dcnv2_error());
        return handle;
    }

    int inputs() const { return layer.mask == DCNV2_MASK_NONE || layer.combined ? 2 : 3; }

    bool right_numbers(int inputs_given, int outputs) const {
        if (inputs_given == inputs() && outputs == 1) return true;
        log_error("it has " + std::to_string(inputs_given) + " inputs and " + std::to_string(outputs) +
                  " outputs, expected " + std::to_string(inputs()) + " and 1");
        return false;
    }

    // Whether the tensor at `position` may be so, given those before it.
    bool supports(int position, const PluginTensorDesc* (*at)(const void*, int), const void* all) const {
        const PluginTensorDesc &tensor = *at(all, position), &x = *at(all, 0);
        const bool linear = tensor.format == TensorFormat::kLINEAR, eights = tensor.format == TensorFormat::kHWC8;
        const bool half = tensor.type == DataType::kHALF;
        if (position == 0)
            return linear ? half || tensor.type == DataType::kFLOAT : eights && half && layer.channels % 8 == 0;
        if (position == inputs())  // the output is as x; its channels may not come in eights
            return tensor.type == x.type &&
                   (x.format == TensorFormat::kHWC8 && layer.out_channels % 8 == 0 ? eights : linear);
        if (position == 2) return tensor.type == at(all, 1)->type && tensor.format == at(all, 1)->format;
        if (tensor.type == DataType::kFLOAT) return linear;
        return half && x.type == DataType::kHALF && (linear || eights);
    }

    // Sizes that are not known yet are -1 and pass.
    bool right_shapes(const Dims& x, const Dims& offset, const Dims* mask) const {
        auto text = [](const Dims& dims) {
            std::string line = "(";
            for (int i = 0; i < dims.nbDims; ++i) line += (i ? ", " : "") + std::to_string(dims.d[i]);
            return line + ")";
        };
        auto fits = [&](const char* name, const Dims& dims, int64_t channels, int64_t height, int64_t width) {
            const int64_t batch = dims.nbDims == 4 && x.nbDims == 4 ? x.d[0] : -1;
            const int64_t expected[4] = {batch, channels, height, width};
            bool right = dims.nbDims == 4;
            for (int i = 0; right && i < 4; ++i) right = dims.d[i] < 0 || expected[i] < 0 || dims.d[i] == expected[i];
            if (!right)
                log_error(std::string(name) + " is " + text(dims) + ", expected (" + std::to_string(batch) + ", " +
                          std::to_string(channels) + ", " + std::to_string(height) + ", " + std::to_string(width) +
                          "); -1 is any");
            return right;
        };
        if (!fits("x", x, layer.channels, -1, -1)) return false;
        int32_t height = -1, width = -1;
        if (x.d[2] >= 0 && x.d[3] >= 0 &&
            dcnv2_output_size(&layer, static_cast<int32_t>(x.d[2]), static_cast<int32_t>(x.d[3]), &height, &width)) {
            log_error(dcnv2_error());
            return false;
        }
        const int64_t slots = static_cast<int64_t>(layer.offset_groups) * layer.kernel_h * layer.kernel_w;
        return fits(layer.combined ? "offset with mask" : "offset", offset, (layer.combined ? 3 : 2) * slots, height,
                    width) &&
               (!mask || fits("mask", *mask, slots, height, width));
    }

    dcnv2_call call(const PluginTensorDesc& x, const PluginTensorDesc& offset, const PluginTensorDesc& output) const {
        auto layout = [](const PluginTensorDesc& t) { return t.format == TensorFormat::kHWC8 ? DCNV2_NHWC : DCNV2_NCHW; };
        dcnv2_call call = {};
        call.batch = static_cast<int32_t>(x.dims.d[0]);
        call.height = static_cast<int32_t>(x.dims.d[2]);
        call.width = static_cast<int32_t>(x.dims.d[3]);
        call.input_layout = layout(x);
        call.output_layout = layout(output);
        call.offset_type = offset.type == DataType::kHALF ? DCNV2_HALF : DCNV2_FLOAT;
        call.offset_layout = layout(offset);
        call.tile = -1;
        return call;
    }

    size_t workspace(const PluginTensorDesc& x, const PluginTensorDesc& offset, const PluginTensorDesc& output) const {
        dcnv2_layer typed = layer;
        typed.data_type = x.type == DataType::kHALF ? DCNV2_HALF : DCNV2_FLOAT;
        const dcnv2_call wanted = call(x, offset, output);
        size_t bytes = 0;
        if (dcnv2_workspace_bytes(&typed, &wanted, &bytes)) log_error(dcnv2_error());
        return bytes;
    }

    int run(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs_given,
            void* const* outputs, void* workspace_given, cudaStream_t stream) {
        if (!right_shapes(in[0].dims, in[1].dims, inputs() == 3 ? &in[2].dims : nullptr)) return 1;
        dcnv2_handle* weights = handle(in[0].type);
        if (!weights) return 1;
        const dcnv2_call wanted = call(in[0], in[1], out[0]);
        // What getWorkspaceSize said; it grows with the sizes alone.
        if (dcnv2_forward(weights, &wanted, inputs_given[0], inputs_given[1], inputs() == 3 ? inputs_given[2] : nullptr,
                          outputs[0], workspace_given, workspace_given ? workspace(in[0], in[1], out[0]) : 0, stream)) {
            log_error(dcnv2_error());
            return 1;
        }
        return 0;
    }

    DimsExprs output_shape(const DimsExprs* inputs_given, IExprBuilder& builder) const {
        DimsExprs output = inputs_given[0];
        output.nbDims = 4;
        output.d[1] = builder.constant(layer.out_channels);
        output.d[2] = inputs_given[1].d[2];
        output.d[3] = inputs_given[1].d[3];
        return output;
    }

    std::vector<char> blob() const {
        std::vector<char> bytes(blob_bytes(layer));
        write_blob(layer, weight.data(), bias.data(), bytes.data());
        return bytes;
    }

private:
    std::mutex mutex_;
    std::map<std::pair<int, int>, dcnv2_handle*> handles_;  // by device and type of x
};

std::shared_ptr<Layer> layer_from_blob(const void* data, size_t bytes) {
    auto made = std::make_shared<Layer>();
    const std::string error = read_blob(data, bytes, &made->layer, &made->weight, &made->bias);
    if (error.empty()) return made;
    log_error(error);
    return nullptr;
}

std::shared_ptr<Layer> layer_from_fields(const PluginFieldCollection* fields) {
    auto made = std::make_shared<Layer>();
    dcnv2_layer& layer = made->layer;
    layer.stride_h = layer.stride_w = layer.dilation_h = layer.dilation_w = 1;
    layer.groups = layer.offset_groups = layer.mask = 1;
    const struct {
        const char* name;
        int32_t *first, *second;  // one number, or two
    } numbers[] = {{"out_channels", &layer.out_channels, nullptr},
                   {"kernel_size", &layer.kernel_h, &layer.kernel_w},
                   {"stride", &layer.stride_h, &layer.stride_w},
                   {"padding", &layer.padding_h, &layer.padding_w},
                   {"dilation", &layer.dilation_h, &layer.dilation_w},
                   {"groups", &layer.groups, nullptr},
                   {"offset_groups", &layer.offset_groups, nullptr},
                   {"mask", &layer.mask, nullptr},
                   {"combined", &layer.combined, nullptr}};
    for (int i = 0; fields && i < fields->nbFields; ++i) {
        const PluginField& field = fields->fields[i];
        const std::string name = field.name ? field.name : "";
        if (name == "weight" || name == "bias") {
            if (field.type != PluginFieldType::kFLOAT32 || field.length < 0 || (field.length && !field.data)) {
                log_error("field " + name + " must be float32");
                return nullptr;
            }
            const float* from = static_cast<const float*>(field.data);
            (name == "weight" ? made->weight : made->bias).assign(from, from + field.length);
            continue;
        }
        bool known = false;
        for (const auto& number : numbers) {
            if (name != number.name) continue;
            known = true;
            const int count = number.second ? 2 : 1;
            if (field.type != PluginFieldType::kINT32 || field.length != count || !field.data) {
                log_error("field " + name + " must be " + std::to_string(count) + " int32");
                return nullptr;
            }
            *number.first = static_cast<const int32_t*>(field.data)[0];
            if (number.second) *number.second = static_cast<const int32_t*>(field.data)[1];
        }
        if (!known) {
            log_error("field " + name + " is unknown");
            return nullptr;
        }
    }
    const int64_t each = static_cast<int64_t>(layer.out_channels) * layer.kernel_h * layer.kernel_w;
    if (each < 1 || made->weight.empty() || made->weight.size() % each) {
        log_error(std::to_string(made->weight.size()) + " weights do not fit out_channels " +
                  std::to_string(layer.out_channels) + " and kernel_size " + std::to_string(layer.kernel_h) + " x " +
                  std::to_string(layer.kernel_w));
        return nullptr;
    }
    layer.channels = static_cast<int32_t>(made->weight.size() / each) * layer.groups;
    if (dcnv2_check(&layer)) {
        log_error(dcnv2_error());
        return nullptr;
    }
    if (made->bias.empty()) made->bias.resize(layer.out_channels);
    if (static_cast<int32_t>(made->bias.size()) != layer.out_channels) {
        log_error(std::to_string(made->bias.size()) + " biases do not fit out_channels " +
                  std::to_string(layer.out_channels));
        return nullptr;
    }
    return made;
}

const PluginFieldCollection* known_fields() {
    static const std::vector<PluginField> fields = {
        {"weight", nullptr, PluginFieldType::kFLOAT32, 1},      {"bias", nullptr, PluginFieldType::kFLOAT32, 1},
        {"out_channels", nullptr, PluginFieldType::kINT32, 1},  {"kernel_size", nullptr, PluginFieldType::kINT32, 2},
        {"stride", nullptr, PluginFieldType::kINT32, 2},        {"padding", nullptr, PluginFieldType::kINT32, 2},
        {"dilation", nullptr, PluginFieldType::kINT32, 2},      {"groups", nullptr, PluginFieldType::kINT32, 1},
        {"offset_groups", nullptr, PluginFieldType::kINT32, 1}, {"mask", nullptr, PluginFieldType::kINT32, 1},
        {"combined", nullptr, PluginFieldType::kINT32, 1}};
    static const PluginFieldCollection all = {static_cast<int32_t>(fields.size()), fields.data()};
    return &all;
}

// What must not pass TensorRT's noexcept: an exception becomes a logged error and `otherwise`.
template <typename Value, typename Function>
Value guarded(Value otherwise, Function function) noexcept {
    try {
        return function();
    } catch (const std::exception& error) {
        log_error(error.what());
        return otherwise;
    }
}

#if NV_TENSORRT_MAJOR < 10

const PluginTensorDesc* tensor_at(const void* all, int i) { return static_cast<const PluginTensorDesc*>(all) + i; }

class Plugin final : public IPluginV2DynamicExt {
public:
    explicit Plugin(std::shared_ptr<Layer> layer) : layer_(std::move(layer)) {}

    const char* getPluginType() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
    void setPluginNamespace(const char* name) noexcept override { namespace_ = name ? name : ""; }
    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}
    void destroy() noexcept override { delete this; }

    IPluginV2DynamicExt* clone() const noexcept override {
        return guarded<IPluginV2DynamicExt*>(nullptr, [&] {
            auto* copy = new Plugin(layer_);
            copy->namespace_ = namespace_;
            return copy;
        });
    }
    DataType getOutputDataType(int32_t, const DataType* inputs, int32_t) const noexcept override { return inputs[0]; }
    DimsExprs getOutputDimensions(int32_t, const DimsExprs* inputs, int32_t count, IExprBuilder& builder) noexcept override {
        if (!layer_->right_numbers(count, 1)) return inputs[0];
        return layer_->output_shape(inputs, builder);
    }
    bool supportsFormatCombination(int32_t position, const PluginTensorDesc* all, int32_t inputs,
                                   int32_t outputs) noexcept override {
        return layer_->right_numbers(inputs, outputs) && layer_->supports(position, tensor_at, all);
    }
    void configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs, const DynamicPluginTensorDesc*,
                         int32_t outputs) noexcept override {
        guarded(0, [&] {  // what is wrong is said again, and returned, by enqueue
            if (layer_->right_numbers(inputs, outputs) &&
                layer_->right_shapes(in[0].desc.dims, in[1].desc.dims, inputs == 3 ? &in[2].desc.dims : nullptr))
                layer_->handle(in[0].desc.type);
            return 0;
        });
    }
    size_t getWorkspaceSize(const PluginTensorDesc* in, int32_t, const PluginTensorDesc* out,
                            int32_t) const noexcept override {
        return guarded<size_t>(0, [&] { return layer_->workspace(in[0], in[1], out[0]); });
    }
    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return guarded(1, [&] { return layer_->run(in, out, inputs, outputs, workspace, stream); });
    }
    size_t getSerializationSize() const noexcept override { return blob_bytes(layer_->layer); }
    void serialize(void* to) const noexcept override {
        write_blob(layer_->layer, layer_->weight.data(), layer_->bias.data(), to);
    }

private:
    std::shared_ptr<Layer> layer_;
    std::string namespace_ = kNamespace;
};

class Creator final : public IPluginCreator {
public:
    const char* getPluginName() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
    void setPluginNamespace(const char* name) noexcept override { namespace_ = name ? name : ""; }
    const PluginFieldCollection* getFieldNames() noexcept override { return known_fields(); }

    IPluginV2* createPlugin(const char*, const PluginFieldCollection* fields) noexcept override {
        return guarded<IPluginV2*>(nullptr, [&] { return make(layer_from_fields(fields)); });
    }
    IPluginV2* deserializePlugin(const char*, const void* data, size_t bytes) noexcept override {
        return guarded<IPluginV2*>(nullptr, [&] { return make(layer_from_blob(data, bytes)); });
    }

private:
    Plugin* make(std::shared_ptr<Layer> layer) const {
        if (!layer) return nullptr;
        auto* plugin = new Plugin(std::move(layer));
        plugin->setPluginNamespace(namespace_.c_str());
        return plugin;
    }
    std::string namespace_ = kNamespace;
};

#else

const PluginTensorDesc* tensor_at(const void* all, int i) {
    return &(static_cast<const DynamicPluginTensorDesc*>(all) + i)->desc;
}

constexpr char kBlobField[] = "blob";

class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
    explicit Plugin(std::shared_ptr<Layer> layer) : layer_(std::move(layer)) {}

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    IPluginV3* clone() noexcept override {
        return guarded<IPluginV3*>(nullptr, [&] { return new Plugin(layer_); });
    }
    const char* getPluginName() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }
    int32_t getNbOutputs() const noexcept override { return 1; }

    int32_t getOutputDataTypes(DataType* types, int32_t outputs, const DataType* inputs,
                               int32_t count) const noexcept override {
        if (!layer_->right_numbers(count, outputs)) return 1;
        types[0] = inputs[0];
        return 0;
    }
    int32_t getOutputShapes(const DimsExprs* inputs, int32_t count, const DimsExprs*, int32_t, DimsExprs* outputs,
                            int32_t outputs_count, IExprBuilder& builder) noexcept override {
        if (!layer_->right_numbers(count, outputs_count)) return 1;
        outputs[0] = layer_->output_shape(inputs, builder);
        return 0;
    }
    bool supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* all, int32_t inputs,
                                   int32_t outputs) noexcept override {
        return layer_->right_numbers(inputs, outputs) && layer_->supports(position, tensor_at, all);
    }
    int32_t configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs, const DynamicPluginTensorDesc*,
                            int32_t outputs) noexcept override {
        return guarded(1, [&] {
            return !layer_->right_numbers(inputs, outputs) ||
                           !layer_->right_shapes(in[0].desc.dims, in[1].desc.dims,
                                                 inputs == 3 ? &in[2].desc.dims : nullptr)
                       ? 1
                       : 0;
        });
    }
    size_t getWorkspaceSize(const DynamicPluginTensorDesc* in, int32_t, const DynamicPluginTensorDesc* out,
                            int32_t) const noexcept override {
        return guarded<size_t>(0, [&] {
            PluginTensorDesc x = in[0].desc;
            x.dims = in[0].max;
            return layer_->workspace(x, in[1].desc, out[0].desc);
        });
    }
    const char* getTimingCacheID() noexcept override {
        return guarded<const char*>(nullptr, [&] {
            const dcnv2_layer& l = layer_->layer;
            timing_id_ = "1";
            for (int32_t v : {l.channels, l.out_channels, l.kernel_h, l.kernel_w, l.stride_h, l.stride_w, l.padding_h,
                              l.padding_w, l.dilation_h, l.dilation_w, l.groups, l.offset_groups, l.mask, l.combined})
                timing_id_ += " " + std::to_string(v);
            return timing_id_.c_str();
        });
    }

    int32_t onShapeChange(const PluginTensorDesc* in, int32_t inputs, const PluginTensorDesc*,
                          int32_t outputs) noexcept override {
        return guarded(1, [&] {
            return layer_->right_numbers(inputs, outputs) &&
                           layer_->right_shapes(in[0].dims, in[1].dims, inputs == 3 ? &in[2].dims : nullptr) &&
                           layer_->handle(in[0].type)
                       ? 0
                       : 1;
        });
    }
    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return guarded(1, [&] { return layer_->run(in, out, inputs, outputs, workspace, stream); });
    }
    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }
    const PluginFieldCollection* getFieldsToSerialize() noexcept override {
        return guarded<const PluginFieldCollection*>(nullptr, [&] {
            blob_ = layer_->blob();
            field_ = {kBlobField, blob_.data(), PluginFieldType::kCHAR, static_cast<int32_t>(blob_.size())};
            fields_ = {1, &field_};
            return &fields_;
        });
    }

private:
    std::shared_ptr<Layer> layer_;
    std::vector<char> blob_;
    std::string timing_id_;
    PluginField field_;
    PluginFieldCollection fields_ = {};
};

class Creator final : public IPluginCreatorV3One {
public:
    const char* getPluginName() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }
    const PluginFieldCollection* getFieldNames() noexcept override { return known_fields(); }

    IPluginV3* createPlugin(const char*, const PluginFieldCollection* fields, TensorRTPhase phase) noexcept override {
        return guarded<IPluginV3*>(nullptr, [&]() -> IPluginV3* {
            std::shared_ptr<Layer> layer;
            if (phase == TensorRTPhase::kBUILD) {
                layer = layer_from_fields(fields);
            } else if (fields && fields->nbFields == 1 && std::string(fields->fields[0].name) == kBlobField) {
                layer = layer_from_blob(fields->fields[0].data, fields->fields[0].length);
            } else {
                log_error("the plugin's data is not trtnn's DCNv2: it has other fields");
            }
            return layer ? new Plugin(std::move(layer)) : nullptr;
        });
    }
};

#endif

Creator creator;

}  // namespace
}  // namespace dcnv2

// What IPluginRegistry::loadLibrary looks for in a library.
extern "C" {

DCNV2_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { dcnv2::logger_finder = finder; }

#if NV_TENSORRT_MAJOR < 10
DCNV2_API nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& count) {
    static nvinfer1::IPluginCreator* const creators[] = {&dcnv2::creator};
    count = 1;
    return creators;
}
#else
DCNV2_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&dcnv2::creator};
    count = 1;
    return creators;
}
#endif

// The TensorRT whose headers this was built with, such as "10.13".
DCNV2_API const char* trtnn_dcnv2_tensorrt() {
    static const std::string version = std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR);
    return version.c_str();
}

}  // extern "C"
