// Drives the plugin as TensorRT would, on the emulated kernel: plugin.cpp and dcnv2.cu are compiled in. Prints what is
// wrong and returns how many things are.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "plugin.cpp"

extern "C" cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}

using namespace nvinfer1;

namespace {

int failures = 0;
std::string said;

void check(bool right, const std::string& what) {
    if (right) return;
    ++failures;
    printf("wrong: %s; said: %s\n", what.c_str(), said.c_str());
}
void check_said(const std::string& words, const std::string& what) {
    check(said.find(words) != std::string::npos, what + " should say '" + words + "'");
    said.clear();
}

struct Logger : ILogger {
    void log(Severity severity, const char* message) noexcept override {
        if (severity == Severity::kERROR) said += std::string(message) + "\n";
    }
} logger;
struct Finder : ILoggerFinder {
    ILogger* findLogger() override { return &logger; }
} finder;

struct Fields {
    std::vector<float> weight = std::vector<float>(16 * 8 * 9), bias = std::vector<float>(16);
    int32_t out_channels = 16, kernel[2] = {3, 3}, stride[2] = {1, 1}, padding[2] = {1, 1}, offset_groups = 2;
    std::vector<PluginField> fields;
    PluginFieldCollection all;

    Fields() {
        for (float& value : weight) value = (rand() % 200 - 100) / 500.0f;
        for (float& value : bias) value = (rand() % 200 - 100) / 100.0f;
        fields = {{"weight", weight.data(), PluginFieldType::kFLOAT32, static_cast<int32_t>(weight.size())},
                  {"bias", bias.data(), PluginFieldType::kFLOAT32, 16},
                  {"out_channels", &out_channels, PluginFieldType::kINT32, 1},
                  {"kernel_size", kernel, PluginFieldType::kINT32, 2},
                  {"stride", stride, PluginFieldType::kINT32, 2},
                  {"padding", padding, PluginFieldType::kINT32, 2},
                  {"offset_groups", &offset_groups, PluginFieldType::kINT32, 1}};
    }
    const PluginFieldCollection* get() {
        all = {static_cast<int32_t>(fields.size()), fields.data()};
        return &all;
    }
};

#if NV_TENSORRT_MAJOR < 10
using Any = IPluginV2DynamicExt;
using Description = PluginTensorDesc;
PluginTensorDesc& inner(Description& d) { return d; }
IPluginCreator* the_creator() {
    int32_t count = 0;
    return getPluginCreators(count)[0];
}
Any* make(const PluginFieldCollection* fields) { return static_cast<Any*>(the_creator()->createPlugin("layer", fields)); }
std::vector<char> bytes_of(Any* plugin) {
    std::vector<char> bytes(plugin->getSerializationSize());
    plugin->serialize(bytes.data());
    return bytes;
}
Any* restore(const std::vector<char>& bytes) {
    return static_cast<Any*>(the_creator()->deserializePlugin("layer", bytes.data(), bytes.size()));
}
void release_plugin(Any* plugin) { plugin->destroy(); }
Any* build_of(Any* plugin) { return plugin; }
Any* runtime_of(Any* plugin) { return plugin; }
Any* clone_of(Any* plugin) { return plugin->clone(); }
#else
using Any = IPluginV3;
using Description = DynamicPluginTensorDesc;
PluginTensorDesc& inner(Description& d) { return d.desc; }
IPluginCreatorV3One* the_creator() {
    int32_t count = 0;
    return static_cast<IPluginCreatorV3One*>(getCreators(count)[0]);
}
Any* make(const PluginFieldCollection* fields) {
    return the_creator()->createPlugin("layer", fields, TensorRTPhase::kBUILD);
}
IPluginV3OneBuild* build_of(Any* plugin) {
    return static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
}
IPluginV3OneRuntime* runtime_of(Any* plugin) {
    return static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}
std::vector<char> bytes_of(Any* plugin) {
    const PluginFieldCollection* fields = runtime_of(plugin)->getFieldsToSerialize();
    const char* data = static_cast<const char*>(fields->fields[0].data);
    return std::vector<char>(data, data + fields->fields[0].length);
}
Any* restore(const std::vector<char>& bytes) {
    const PluginField field = {"blob", bytes.data(), PluginFieldType::kCHAR, static_cast<int32_t>(bytes.size())};
    const PluginFieldCollection fields = {1, &field};
    return the_creator()->createPlugin("layer", &fields, TensorRTPhase::kRUNTIME);
}
void release_plugin(Any* plugin) { delete plugin; }
Any* clone_of(Any* plugin) { return runtime_of(plugin)->attachToContext(nullptr); }
#endif

PluginTensorDesc tensor(std::vector<int> shape, DataType type, TensorFormat format) {
    PluginTensorDesc desc = {};
    desc.dims.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) desc.dims.d[i] = shape[i];
    desc.type = type;
    desc.format = format;
    return desc;
}

void creation() {
    Fields good;
    Any* plugin = make(good.get());
    check(plugin && said.empty(), "a good layer is made");
    release_plugin(plugin);

    Fields divided;
    divided.offset_groups = 3;
    check(!make(divided.get()), "3 offset groups of 8 channels are refused");
    check_said("8 channels do not divide into 3 offset groups", "offset groups");
    Fields few;
    few.fields[0].length -= 1;
    check(!make(few.get()), "a weight too few is refused");
    check_said("1151 weights do not fit out_channels 16 and kernel_size 3 x 3", "weights");
    Fields biased;
    biased.fields[1].length = 15;
    check(!make(biased.get()), "a bias too few is refused");
    check_said("15 biases do not fit", "biases");
    Fields typed;
    typed.fields[0].type = PluginFieldType::kFLOAT16;
    check(!make(typed.get()), "fp16 weights are refused");
    check_said("weight must be float32", "weight type");
    Fields sized;
    sized.fields[4].length = 1;
    check(!make(sized.get()), "one stride is refused");
    check_said("stride must be 2 int32", "stride");
    Fields unknown;
    unknown.fields[4].name = "strides";
    check(!make(unknown.get()), "an unknown field is refused");
    check_said("field strides is unknown", "unknown field");
    check(!make(nullptr), "no fields are refused");
    said.clear();
}

void blobs() {
    Fields good;
    Any* plugin = make(good.get());
    const std::vector<char> bytes = bytes_of(plugin);
    release_plugin(plugin);
    plugin = restore(bytes);
    check(plugin && bytes_of(plugin) == bytes, "a blob comes back as it was");
    release_plugin(plugin);
    auto changed = [&](size_t at) {
        std::vector<char> other = bytes;
        other[at] ^= 1;
        return other;
    };
    check(!restore({bytes.begin(), bytes.end() - 1}), "a truncated blob is refused");
    check_said("it is truncated", "truncated");
    check(!restore({bytes.begin(), bytes.begin() + 10}), "ten bytes are refused");
    check_said("it is truncated", "ten bytes");
    check(!restore(changed(0)), "a foreign blob is refused");
    check_said("foreign", "foreign");
    check(!restore(changed(8)), "another version is refused");
    check_said("this library reads version 2: build the engine again", "version");
    check(!restore(changed(bytes.size() - 1)), "a damaged blob is refused");
    check_said("checksum", "damaged");
    check(!restore(changed(32)), "a blob of another layer is refused");
    said.clear();
}

void formats() {
    Fields good;
    Any* plugin = make(good.get());
    const DataType types[] = {DataType::kFLOAT, DataType::kHALF, DataType::kINT8};
    const TensorFormat all[] = {TensorFormat::kLINEAR, TensorFormat::kHWC8, TensorFormat::kCHW2};
    std::vector<Description> tensors(4);
    std::vector<std::string> taken;
    for (int code = 0; code < 9 * 9 * 9 * 9; ++code) {
        std::string name;
        for (int i = 0, rest = code; i < 4; ++i, rest /= 9) {
            inner(tensors[i]).type = types[rest % 9 / 3];
            inner(tensors[i]).format = all[rest % 3];
            name += "SHI"[rest % 9 / 3];  // single, half, integer
            name += "l8c"[rest % 3];      // linear, channels in eights, other
        }
        bool supported = true;
        for (int i = 0; i < 4 && supported; ++i)
            supported = build_of(plugin)->supportsFormatCombination(i, tensors.data(), 3, 1);
        if (supported) taken.push_back(name);
    }
    const std::vector<std::string> expected = {"SlSlSlSl", "HlSlSlHl", "H8SlSlH8", "HlHlHlHl",
                                               "H8HlHlH8", "HlH8H8Hl", "H8H8H8H8"};
    std::string text;
    for (const std::string& name : taken) text += name + " ";
    bool same = taken.size() == expected.size();
    for (const std::string& name : expected) same = same && text.find(name) != std::string::npos;
    check(same, "format combinations are " + text);
    check(!build_of(plugin)->supportsFormatCombination(0, tensors.data(), 2, 1), "two inputs are refused");
    check_said("it has 2 inputs and 1 outputs, expected 3 and 1", "inputs");
    release_plugin(plugin);
}

void running() {
    Fields good;
    Any* plugin = make(good.get());
    const std::vector<char> bytes = bytes_of(plugin);
    Any* restored = restore(bytes);
    Any* copy = clone_of(restored);
    release_plugin(restored);  // a clone lives on
    const int batch = 2, height = 6, width = 5, area = height * width;
    std::vector<float> x(batch * 8 * area), offset(batch * 36 * area), mask(batch * 18 * area), output(batch * 16 * area);
    for (auto* values : {&x, &offset, &mask})
        for (float& value : *values) value = (rand() % 2000 - 1000) / 500.0f;

    dcnv2_layer layer = {8, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 2, DCNV2_FLOAT, DCNV2_MASK_GIVEN, 0};
    dcnv2_call call = {batch, height, width, 0, 0, 0, 0, -1, 0};
    dcnv2_handle* handle = nullptr;
    check(!dcnv2_create(&layer, good.weight.data(), good.bias.data(), &handle), "the kernel takes the layer");
    std::vector<float> wanted(output.size());
    std::vector<char> scratch(32 << 20);
    char* workspace = scratch.data() + (256 - reinterpret_cast<uintptr_t>(scratch.data()) % 256);
    check(!dcnv2_forward(handle, &call, x.data(), offset.data(), mask.data(), wanted.data(), workspace, 20 << 20, nullptr),
          dcnv2_error());
    dcnv2_destroy(handle);

    const DataType type = DataType::kFLOAT;
    const TensorFormat linear = TensorFormat::kLINEAR;
    PluginTensorDesc in[] = {tensor({batch, 8, height, width}, type, linear),
                             tensor({batch, 36, height, width}, type, linear),
                             tensor({batch, 18, height, width}, type, linear)};
    PluginTensorDesc out = tensor({batch, 16, height, width}, type, linear);
    const void* inputs[] = {x.data(), offset.data(), mask.data()};
    void* outputs[] = {output.data()};
    for (Any* each : {plugin, copy}) {
        std::fill(output.begin(), output.end(), -1.0f);
        check(runtime_of(each)->enqueue(in, &out, inputs, outputs, workspace, nullptr) == 0, "it runs");
        check(output == wanted, "it gives what the kernel gives");
    }

    in[1].dims.d[1] = 18;
    check(runtime_of(plugin)->enqueue(in, &out, inputs, outputs, workspace, nullptr) != 0, "a wrong offset is refused");
    check_said("offset is (2, 18, 6, 5), expected (2, 36, 6, 5)", "offset");
    in[1].dims.d[1] = 36;
    in[2].dims.d[3] = 4;
    check(runtime_of(plugin)->enqueue(in, &out, inputs, outputs, workspace, nullptr) != 0, "a wrong mask is refused");
    check_said("mask is (2, 18, 6, 4), expected (2, 18, 6, 5)", "mask");
    in[2].dims.d[3] = 5;
    in[0].dims.d[1] = 9;
    check(runtime_of(plugin)->enqueue(in, &out, inputs, outputs, workspace, nullptr) != 0, "a wrong x is refused");
    check_said("x is (2, 9, 6, 5), expected (2, 8, -1, -1)", "x");
    release_plugin(plugin);
    release_plugin(copy);
}

// The values of an NCHW array as a tensor of a type and a format has them; NaN in channels that only fill up an eight.
std::vector<char> stored(const std::vector<float>& values, int channels, int area, DataType type, TensorFormat format) {
    const bool eights = format == TensorFormat::kHWC8, half = type == DataType::kHALF;
    const int kept = eights ? (channels + 7) / 8 * 8 : channels, images = static_cast<int>(values.size()) / channels / area;
    std::vector<float> moved(images * kept * area, NAN);
    for (int n = 0; n < images; ++n)
        for (int c = 0; c < channels; ++c)
            for (int i = 0; i < area; ++i)
                moved[eights ? (n * area + i) * kept + c : (n * kept + c) * area + i] = values[(n * channels + c) * area + i];
    const std::vector<_Float16> halves(moved.begin(), moved.end());
    const char* from = half ? reinterpret_cast<const char*>(halves.data()) : reinterpret_cast<const char*>(moved.data());
    return {from, from + moved.size() * (half ? 2 : 4)};
}

void running_in_every_format() {
    Fields good;
    Any* plugin = make(good.get());
    const int batch = 2, height = 6, width = 5, area = height * width, channels[] = {8, 36, 18, 16};
    std::vector<float> values[4];
    for (int i = 0; i < 4; ++i) values[i].resize(batch * channels[i] * area);
    for (int i = 0; i < 3; ++i)
        for (float& value : values[i]) value = (rand() % 256 - 128) / 64.0f;  // exact in fp16
    std::vector<char> scratch(32 << 20);
    char* workspace = scratch.data() + (256 - reinterpret_cast<uintptr_t>(scratch.data()) % 256);
    std::vector<float> wanted;
    for (const std::string name : {"SlSlSlSl", "HlSlSlHl", "H8SlSlH8", "HlHlHlHl", "H8HlHlH8", "HlH8H8Hl", "H8H8H8H8"}) {
        PluginTensorDesc tensors[4];
        std::vector<char> bytes[4];
        for (int i = 0; i < 4; ++i) {
            const DataType type = name[2 * i] == 'H' ? DataType::kHALF : DataType::kFLOAT;
            const TensorFormat format = name[2 * i + 1] == '8' ? TensorFormat::kHWC8 : TensorFormat::kLINEAR;
            tensors[i] = tensor({batch, channels[i], height, width}, type, format);
            bytes[i] = stored(values[i], channels[i], area, type, format);
        }
        const void* inputs[] = {bytes[0].data(), bytes[1].data(), bytes[2].data()};
        void* outputs[] = {bytes[3].data()};
        check(runtime_of(plugin)->enqueue(tensors, tensors + 3, inputs, outputs, workspace, nullptr) == 0, "it runs as " + name);
        const bool half = name[6] == 'H', eights = name[7] == '8';
        float error = 0, largest = 0;
        for (int n = 0; n < batch; ++n)
            for (int c = 0; c < 16; ++c)
                for (int i = 0; i < area; ++i) {
                    const int at = (n * 16 + c) * area + i, there = eights ? (n * area + i) * 16 + c : at;
                    float value;
                    if (half)
                        value = static_cast<float>(reinterpret_cast<const _Float16*>(bytes[3].data())[there]);
                    else
                        value = reinterpret_cast<const float*>(bytes[3].data())[there];
                    if (!half) wanted.push_back(value);
                    const float difference = std::fabs(value - wanted[at]);
                    if (!std::isnan(error) && !(difference <= error)) error = difference;
                    largest = std::max(largest, std::fabs(wanted[at]));
                }
        check(error < 5e-3f * largest, "as " + name + " it is off by " + std::to_string(error / largest));
    }
    release_plugin(plugin);
}

}  // namespace

int main() {
    setLoggerFinder(&finder);
    creation();
    blobs();
    formats();
    running();
    running_in_every_format();
    return failures;
}
