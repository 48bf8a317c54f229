// A layer with its weights as bytes: what an engine keeps of the plugin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "dcnv2.h"

namespace dcnv2 {

constexpr char kMagic[8] = {'T', 'R', 'T', 'N', 'D', 'C', 'N', '2'};
constexpr uint32_t kBlobVersion = 2;

struct BlobHeader {
    char magic[8];
    uint32_t version, checksum;  // of all that follows it
    uint64_t bytes, weights;     // of the whole, and how many numbers
    dcnv2_layer layer;
    int32_t unused;
};
static_assert(sizeof(BlobHeader) == 96, "the header has no holes");

inline uint32_t checksum(const void* blob, size_t bytes) {  // FNV-1a
    uint32_t sum = 2166136261u;
    for (size_t i = offsetof(BlobHeader, bytes); i < bytes; ++i)
        sum = (sum ^ static_cast<const unsigned char*>(blob)[i]) * 16777619u;
    return sum;
}

inline uint64_t count_weights(const dcnv2_layer& layer) {
    return static_cast<uint64_t>(layer.out_channels) * (layer.channels / layer.groups) * layer.kernel_h * layer.kernel_w;
}

inline size_t blob_bytes(const dcnv2_layer& layer) {
    return sizeof(BlobHeader) + (count_weights(layer) + layer.out_channels) * sizeof(float);
}

// Weights and bias follow the header in fp32, whatever type x has.
inline void write_blob(const dcnv2_layer& layer, const float* weight, const float* bias, void* to) {
    BlobHeader header = {};
    memcpy(header.magic, kMagic, sizeof(kMagic));
    header.version = kBlobVersion;
    header.bytes = blob_bytes(layer);
    header.weights = count_weights(layer);
    header.layer = layer;
    memcpy(to, &header, sizeof(header));
    char* body = static_cast<char*>(to) + sizeof(header);
    memcpy(body, weight, header.weights * sizeof(float));
    if (bias)
        memcpy(body + header.weights * sizeof(float), bias, layer.out_channels * sizeof(float));
    else
        memset(body + header.weights * sizeof(float), 0, layer.out_channels * sizeof(float));
    header.checksum = checksum(to, header.bytes);
    memcpy(to, &header, sizeof(header));
}

// An empty string, or why these bytes are no layer.
inline std::string read_blob(const void* data, size_t bytes, dcnv2_layer* layer, std::vector<float>* weight,
                             std::vector<float>* bias) {
    BlobHeader header;
    const std::string has = "the plugin's data has " + std::to_string(bytes) + " bytes";
    if (!data || bytes < sizeof(header)) return has + ", less than its header: it is truncated";
    memcpy(&header, data, sizeof(header));
    if (memcmp(header.magic, kMagic, sizeof(kMagic))) return "the plugin's data is not trtnn's DCNv2: its first bytes are foreign";
    if (header.version != kBlobVersion)
        return "the plugin's data has version " + std::to_string(header.version) + ", this library reads version " +
               std::to_string(kBlobVersion) + ": build the engine again";
    if (header.bytes != bytes) return has + ", it should have " + std::to_string(header.bytes) + ": it is truncated";
    if (dcnv2_check(&header.layer)) return dcnv2_error();
    if (header.weights != count_weights(header.layer) || bytes != blob_bytes(header.layer))
        return "the plugin's data does not have the weights that its layer needs";
    const char* body = static_cast<const char*>(data) + sizeof(header);
    if (checksum(data, bytes) != header.checksum) return "the plugin's data is damaged: its checksum is wrong";
    *layer = header.layer;
    weight->resize(header.weights);
    bias->resize(header.layer.out_channels);
    memcpy(weight->data(), body, weight->size() * sizeof(float));
    memcpy(bias->data(), body + weight->size() * sizeof(float), bias->size() * sizeof(float));
    return "";
}

}  // namespace dcnv2
