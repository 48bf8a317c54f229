// What the kernels need of the machine: CUDA's own here, without any header of CUDA's; where they are compiled for a CPU,
// as the tests do, a file named host.h gives the same.
#pragma once

#ifndef __CUDACC__
#include "host.h"
#else

#define DEVICE __device__ __forceinline__
#define SHARED __shared__
#define PRAGMA(text) _Pragma(#text)
#define UNROLL(times) PRAGMA(unroll times)

// A kernel takes one structure. `threads` are those of a block.
#define KERNEL(name, Arguments, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Arguments args)

// From Hopper on the blocks of a cluster run at the same time, and can wait for each other: those beside each other in x.
#if __CUDA_ARCH__ >= 900
#define CLUSTER_KERNEL(name, Arguments, threads, blocks)                                   \
    extern "C" __global__ void __cluster_dims__(blocks, 1, 1) __launch_bounds__(threads)   \
        name(const __grid_constant__ Arguments args)
DEVICE void sync_cluster() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
#endif

DEVICE int thread_index() { return threadIdx.x; }
// How many threads a block has, which is said where the kernel is written, so that loops over them have known ends.
template <int THREADS>
DEVICE int thread_count() {
    return THREADS;
}
DEVICE int block_x() { return blockIdx.x; }
DEVICE int block_y() { return blockIdx.y; }
DEVICE int block_z() { return blockIdx.z; }
DEVICE int grid_x() { return gridDim.x; }
DEVICE void sync_block() { __syncthreads(); }

DEVICE int count_up(int* counter) { return atomicAdd(counter, 1); }
DEVICE int add_to(int* sum, int more) { return atomicAdd(sum, more); }
DEVICE void or_into(unsigned* bits, unsigned more) { atomicOr(bits, more); }
DEVICE void and_into(unsigned* bits, unsigned left) { atomicAnd(bits, left); }
DEVICE int lowest_bit(unsigned long long bits) { return __ffsll(static_cast<long long>(bits)) - 1; }
DEVICE int ones_in(unsigned bits) { return __popc(bits); }

// Data that no one writes while the kernel runs.
DEVICE unsigned load_word(const unsigned* from) { return __ldg(from); }
DEVICE unsigned char load_byte(const unsigned char* from) { return __ldg(from); }
// Bits `shift` to `shift + 31` of high and low beside each other.
DEVICE unsigned funnel(unsigned low, unsigned high, unsigned shift) { return __funnelshift_r(low, high, shift); }

// The bytes of low and high, counted from 0 to 7, that the digits of `which` name, the last digit first.
DEVICE unsigned permuted(unsigned low, unsigned high, unsigned which) { return __byte_perm(low, high, which); }
// The two halves of `weights` by the two lower, or the two upper bytes, and the sum.
DEVICE unsigned dot_low(unsigned weights, unsigned bytes) { return __dp2a_lo(weights, bytes, 0u); }
DEVICE unsigned dot_high(unsigned weights, unsigned bytes) { return __dp2a_hi(weights, bytes, 0u); }
DEVICE unsigned high_product(unsigned a, unsigned b) { return __umulhi(a, b); }

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
