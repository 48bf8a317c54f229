// The C interface of the kernel: modulated deformable convolution (DCNv2), without TensorRT.
//
// Meaning, shapes and order are those of torchvision.ops.deform_conv2d:
//   x       (batch, channels, height, width)
//   offset  (batch, 2 * offset_groups * kernel_h * kernel_w, out_height, out_width), pairs (y, x) for each tap
//   mask    (batch, offset_groups * kernel_h * kernel_w, out_height, out_width), or none
//   weight  (out_channels, channels / groups, kernel_h, kernel_w)
// A sample outside the picture is 0; a tap whose position is not a number counts as outside.
//
// Every function returns 0 for success; otherwise dcnv2_error() says what was wrong, for this thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DCNV2_API __attribute__((visibility("default")))

enum { DCNV2_FLOAT = 0, DCNV2_HALF = 1 };
// NHWC of x and the output holds exactly the channels; of offset and mask, channels padded to a multiple of 8 (what
// TensorRT calls HWC8).
enum { DCNV2_NCHW = 0, DCNV2_NHWC = 1 };
enum { DCNV2_MASK_NONE = 0, DCNV2_MASK_GIVEN = 1, DCNV2_MASK_LOGITS = 2 };  // LOGITS: the kernel applies the sigmoid

// What does not change from call to call.
typedef struct {
    int32_t channels, out_channels;
    int32_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
    int32_t groups, offset_groups;
    int32_t data_type;  // of x and the output; products are summed in fp32
    int32_t mask;
    int32_t combined;  // 1: offset and mask are one map of 3 * offset_groups * kernel_h * kernel_w channels
} dcnv2_layer;

// What may.
typedef struct {
    int32_t batch, height, width;
    int32_t input_layout, output_layout;
    int32_t offset_type, offset_layout;  // of offset and mask; fp32 x takes fp32 offsets only
    int32_t tile;    // which of dcnv2_tile's block shapes, -1: the one expected to be fastest
    int32_t splits;  // blocks that share one output tile, each with a part of the sum; 0: as many as expected to help
} dcnv2_call;

typedef struct dcnv2_handle dcnv2_handle;

DCNV2_API const char* dcnv2_error(void);
DCNV2_API int dcnv2_check(const dcnv2_layer* layer);
// Repacks the weights (host, fp32, bias may be null) and puts them on the current device.
DCNV2_API int dcnv2_create(const dcnv2_layer* layer, const float* weight, const float* bias, dcnv2_handle** handle);
DCNV2_API void dcnv2_destroy(dcnv2_handle* handle);
DCNV2_API int dcnv2_output_size(const dcnv2_layer* layer, int32_t height, int32_t width, int32_t* out_height,
                                int32_t* out_width);
// Enough for this call and for every smaller one.
DCNV2_API int dcnv2_workspace_bytes(const dcnv2_layer* layer, const dcnv2_call* call, size_t* bytes);
// Device pointers; enqueued on the stream, no allocation, no wait: it can be captured into a CUDA graph. With less
// workspace than dcnv2_workspace_bytes it does without splitting, or says that it cannot.
DCNV2_API int dcnv2_forward(dcnv2_handle* handle, const dcnv2_call* call, const void* x, const void* offset,
                            const void* mask, void* output, void* workspace, size_t workspace_bytes, void* stream);
// What `call` would use, and the names of the block shapes; null past the last.
DCNV2_API int dcnv2_choice(dcnv2_handle* handle, const dcnv2_call* call, int32_t* tile, int32_t* splits);
DCNV2_API const char* dcnv2_tile(int32_t data_type, int32_t tile);

// What an engine keeps of the plugin: with `to` null only the size is set.
DCNV2_API int dcnv2_write_blob(const dcnv2_layer* layer, const float* weight, const float* bias, void* to, size_t* bytes);
DCNV2_API int dcnv2_check_blob(const void* data, size_t bytes);

#ifdef __cplusplus
}
#endif
