// What the kernels need of the machine: CUDA's own here; emulator.h gives the same on a CPU, for tests without a GPU.
#pragma once

#include <stdint.h>

#ifdef DCNV2_EMULATE
#include "emulator.h"
#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define DCNV2_BOTH __host__ __device__ __forceinline__
#define DCNV2_DEVICE __device__ __forceinline__
#define DCNV2_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)

namespace dcnv2 {

using half_t = __half;
struct alignas(16) Vec16 {
    uint32_t x, y, z, w;
};

DCNV2_DEVICE int thread_index() { return threadIdx.x; }
DCNV2_DEVICE int block_x() { return blockIdx.x; }
DCNV2_DEVICE int block_y() { return blockIdx.y; }
DCNV2_DEVICE int block_z() { return blockIdx.z; }
DCNV2_DEVICE void sync_block() { __syncthreads(); }
DCNV2_DEVICE unsigned char* shared_memory() {
    extern __shared__ __align__(1024) unsigned char memory[];
    return memory;
}

DCNV2_BOTH float to_float(float v) { return v; }
DCNV2_BOTH float to_float(half_t v) { return __half2float(v); }
DCNV2_BOTH void convert(float v, float& to) { to = v; }
DCNV2_BOTH void convert(float v, half_t& to) { to = __float2half_rn(v); }
DCNV2_DEVICE float exponential(float v) { return __expf(v); }

// Data that no one writes while the kernel runs. Volatile keeps the load where it stands: before the products that hide
// its latency.
DCNV2_DEVICE Vec16 load16(const void* from) {
    Vec16 v;
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from));
    return v;
}
DCNV2_DEVICE float load_value(const float* from) { return __ldg(from); }
DCNV2_DEVICE float load_value(const half_t* from) { return __half2float(__ldg(from)); }

// Shared memory by a number of 32 bits, which takes half of a pointer's registers.
DCNV2_DEVICE uint32_t shared_address(const void* to) { return static_cast<uint32_t>(__cvta_generic_to_shared(to)); }

DCNV2_DEVICE void store_shared(uint32_t to, const Vec16& v) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

// 16 bytes from global to shared memory without registers; zeros where not valid.
DCNV2_DEVICE void copy_async(uint32_t to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}
DCNV2_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
DCNV2_DEVICE void copy_wait() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

// Four 8 x 16-byte matrices; lane l gives the address of row l % 8 of matrix l / 8.
DCNV2_DEVICE void load_matrices(uint32_t (&r)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// c (16 x 8, fp32) += a (16 x 16, fp16) * b (16 x 8, fp16)
DCNV2_DEVICE void multiply_half(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c (16 x 8, fp32) += a (16 x 8, tf32) * b (8 x 8, tf32)
DCNV2_DEVICE void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DCNV2_DEVICE uint32_t round_tf32(float v) {
    uint32_t r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
    return r;
}
DCNV2_DEVICE float as_float(uint32_t v) { return __uint_as_float(v); }

// Two fp16 in one word: v * w.low and sum + v * w.low, and the same with w.high.
using Half2 = __half2;
DCNV2_DEVICE Half2 make_half2_(float low, float high) { return __floats2half2_rn(low, high); }
DCNV2_DEVICE Half2 low_of(Half2 w) { return __low2half2(w); }
DCNV2_DEVICE Half2 high_of(Half2 w) { return __high2half2(w); }
DCNV2_DEVICE Half2 as_half2(uint32_t v) { return *reinterpret_cast<Half2*>(&v); }
DCNV2_DEVICE uint32_t as_word(Half2 v) { return *reinterpret_cast<uint32_t*>(&v); }
DCNV2_DEVICE Half2 multiply2(Half2 a, Half2 b) { return __hmul2(a, b); }
DCNV2_DEVICE Half2 fuse2(Half2 a, Half2 b, Half2 c) { return __hfma2(a, b, c); }

// The host's side: each returns null, or what went wrong.
inline const char* message(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }
inline const char* allocate(void** memory, size_t bytes) { return message(cudaMalloc(memory, bytes)); }
inline const char* upload(void* to, const void* from, size_t bytes) {
    cudaError_t error = cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice);
    // It may return before the last bytes are there, and kernels on streams of others' do not wait for them.
    if (error == cudaSuccess) error = cudaStreamSynchronize(nullptr);
    return message(error);
}
inline void release(void* memory) {
    // A garbage collector may call this while the thread captures a CUDA graph, which freeing would make invalid.
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cudaThreadExchangeStreamCaptureMode(&mode);
    cudaFree(memory);
    cudaThreadExchangeStreamCaptureMode(&mode);
}

struct Machine {
    int multiprocessors, block_bytes, multiprocessor_bytes;  // bytes of shared memory that one can have
};
inline const char* describe_machine(Machine* machine) {
    int device = 0;
    cudaError_t error = cudaGetDevice(&device);
    auto get = [&](int* value, cudaDeviceAttr attribute) {
        if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, device);
    };
    get(&machine->multiprocessors, cudaDevAttrMultiProcessorCount);
    get(&machine->block_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    get(&machine->multiprocessor_bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
    return message(error);
}

// Lets a kernel have as much shared memory as there is, and asks for no more than `used` percent of what could be: the
// rest stays L1 cache.
template <typename Arguments>
const char* configure(void (*kernel)(Arguments), const Machine& machine, int used) {
    const void* function = reinterpret_cast<const void*>(kernel);
    cudaError_t error =
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, machine.block_bytes);
    if (error == cudaSuccess)
        error = cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout, used);
    return message(error);
}

struct Grid {
    int x, y, z;
};

template <typename Arguments>
const char* launch(void (*kernel)(Arguments), Grid grid, int threads, size_t shared_bytes, void* stream,
                   const Arguments& arguments) {
    const void* function = reinterpret_cast<const void*>(kernel);
    void* pointers[] = {const_cast<Arguments*>(&arguments)};
    return message(cudaLaunchKernel(function, dim3(grid.x, grid.y, grid.z), dim3(threads), pointers, shared_bytes,
                                    static_cast<cudaStream_t>(stream)));
}

}  // namespace dcnv2

#ifdef DCNV2_WGMMA  // set where the library is for sm_90a, which alone has these instructions
#include "wgmma.h"
#endif
#endif
