// What the kernels need of the machine: CUDA's own here, without any header of CUDA's; where they are compiled for a CPU,
// as the tests do, a file named host.h gives the same.
#pragma once

#ifndef __CUDACC__
#include "host.h"
#else

#define DEVICE __device__ __forceinline__
#define SHARED __shared__

// A kernel takes one structure. `threads` are those of a block.
#define KERNEL(name, Arguments, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Arguments args)

DEVICE int thread_index() { return threadIdx.x; }
DEVICE int thread_count() { return blockDim.x; }
DEVICE int block_x() { return blockIdx.x; }
DEVICE int block_y() { return blockIdx.y; }
DEVICE int block_z() { return blockIdx.z; }
DEVICE int grid_x() { return gridDim.x; }
DEVICE void sync_block() { __syncthreads(); }

DEVICE int count_up(int* counter) { return atomicAdd(counter, 1); }
DEVICE void add_to(int* sum, int more) { atomicAdd(sum, more); }
DEVICE int lowest_bit(unsigned long long bits) { return __ffsll(static_cast<long long>(bits)) - 1; }

// Data that no one writes while the kernel runs.
DEVICE unsigned load_word(const unsigned* from) { return __ldg(from); }
DEVICE unsigned char load_byte(const unsigned char* from) { return __ldg(from); }
// Bits `shift` to `shift + 31` of high and low beside each other.
DEVICE unsigned funnel(unsigned low, unsigned high, unsigned shift) { return __funnelshift_r(low, high, shift); }

DEVICE unsigned bits_of(float v) { return __float_as_uint(v); }
DEVICE float float_of(unsigned v) { return __uint_as_float(v); }
DEVICE unsigned short half_bits_of(float v) {
    unsigned short h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v));
    return h;
}
DEVICE float float_of_half(unsigned short h) {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(h));
    return v;
}
#endif
