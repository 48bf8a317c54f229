// Hopper's products of a warpgroup, four neighbouring warps: asynchronous, with matrices read from shared memory.
//
// Matrices in shared memory are rows of 128 bytes, K along the row, with the 128-byte swizzle: pieces of 16 bytes
// permuted by the row's number modulo 8, rows counted from an address that 1024 divides (PTX ISA, "Asynchronous
// Warpgroup Level Matrix Shared Memory Layout"). Sums lie in registers as those of mma.m16n8k16 do, warp w with rows
// 16 w to 16 w + 15; so does the left matrix where it comes in registers.
#pragma once

namespace dcnv2 {

// What was written to shared memory by this thread becomes visible to the products that follow the next barrier.
DCNV2_DEVICE void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
DCNV2_DEVICE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DCNV2_DEVICE void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
DCNV2_DEVICE void wait_products() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

// Keeps the compiler from moving what reads or writes these registers over this place.
template <int COUNT>
DCNV2_DEVICE void pin(float (&values)[COUNT][4]) {
#pragma unroll
    for (int n = 0; n < COUNT; ++n)
        asm volatile("" : "+f"(values[n][0]), "+f"(values[n][1]), "+f"(values[n][2]), "+f"(values[n][3])::"memory");
}
template <int COUNT>
DCNV2_DEVICE void pin(uint32_t (&values)[COUNT][4]) {
#pragma unroll
    for (int n = 0; n < COUNT; ++n)
        asm volatile("" : "+r"(values[n][0]), "+r"(values[n][1]), "+r"(values[n][2]), "+r"(values[n][3])::"memory");
}

DCNV2_DEVICE uint32_t exchange(uint32_t v, int lanes) { return __shfl_xor_sync(0xFFFFFFFFu, v, lanes); }

// The operands of 32 columns: 16 registers, first the instruction's names for them, then the sums.
#define DCNV2_R0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define DCNV2_R1 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define DCNV2_R2 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define DCNV2_R3 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define DCNV2_R4 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define DCNV2_R5 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define DCNV2_R6 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define DCNV2_R7 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define DCNV2_D1(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define DCNV2_D4(n) DCNV2_D1(n), DCNV2_D1(n + 1), DCNV2_D1(n + 2), DCNV2_D1(n + 3)
#define DCNV2_L(...) __VA_ARGS__

// d (64 x N, fp32) += a (64 x 16, fp16) * b (16 x N, fp16); N = 8 COLUMNS. a is a descriptor or registers; P0 to P4 are
// the names of the operands that follow the sums.
#define DCNV2_PRODUCT(N, COLUMNS, REGISTERS, SUMS, P0, P1, P2, P3, P4)                                                 \
    DCNV2_DEVICE void multiply_group(float (&d)[COLUMNS][4], uint64_t a, uint64_t b) {                                 \
        asm volatile("{.reg .pred p; setp.eq.u32 p, 0, 0;\n"                                                           \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.f16.f16 {" REGISTERS "}, " P0 ", " P1             \
                     ", p, 1, 1, 0, 0;}"                                                                               \
                     : SUMS                                                                                            \
                     : "l"(a), "l"(b));                                                                                \
    }                                                                                                                  \
    DCNV2_DEVICE void multiply_group(float (&d)[COLUMNS][4], const uint32_t (&a)[4], uint64_t b) {                     \
        asm volatile("{.reg .pred p; setp.eq.u32 p, 0, 0;\n"                                                           \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.f16.f16 {" REGISTERS "}, {" P0 ", " P1 ", " P2    \
                     ", " P3 "}, " P4 ", p, 1, 1, 0;}"                                                                 \
                     : SUMS                                                                                            \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                            \
    }

DCNV2_PRODUCT(32, 4, DCNV2_R0, DCNV2_L(DCNV2_D4(0)), "%16", "%17", "%18", "%19", "%20")
DCNV2_PRODUCT(64, 8, DCNV2_R0 ", " DCNV2_R1, DCNV2_L(DCNV2_D4(0), DCNV2_D4(4)), "%32", "%33", "%34", "%35", "%36")
DCNV2_PRODUCT(96, 12, DCNV2_R0 ", " DCNV2_R1 ", " DCNV2_R2, DCNV2_L(DCNV2_D4(0), DCNV2_D4(4), DCNV2_D4(8)), "%48",
              "%49", "%50", "%51", "%52")
DCNV2_PRODUCT(128, 16, DCNV2_R0 ", " DCNV2_R1 ", " DCNV2_R2 ", " DCNV2_R3,
              DCNV2_L(DCNV2_D4(0), DCNV2_D4(4), DCNV2_D4(8), DCNV2_D4(12)), "%64", "%65", "%66", "%67", "%68")
DCNV2_PRODUCT(160, 20, DCNV2_R0 ", " DCNV2_R1 ", " DCNV2_R2 ", " DCNV2_R3 ", " DCNV2_R4,
              DCNV2_L(DCNV2_D4(0), DCNV2_D4(4), DCNV2_D4(8), DCNV2_D4(12), DCNV2_D4(16)), "%80", "%81", "%82", "%83",
              "%84")
DCNV2_PRODUCT(192, 24, DCNV2_R0 ", " DCNV2_R1 ", " DCNV2_R2 ", " DCNV2_R3 ", " DCNV2_R4 ", " DCNV2_R5,
              DCNV2_L(DCNV2_D4(0), DCNV2_D4(4), DCNV2_D4(8), DCNV2_D4(12), DCNV2_D4(16), DCNV2_D4(20)), "%96", "%97",
              "%98", "%99", "%100")
DCNV2_PRODUCT(256, 32,
              DCNV2_R0 ", " DCNV2_R1 ", " DCNV2_R2 ", " DCNV2_R3 ", " DCNV2_R4 ", " DCNV2_R5 ", " DCNV2_R6
                       ", " DCNV2_R7,
              DCNV2_L(DCNV2_D4(0), DCNV2_D4(4), DCNV2_D4(8), DCNV2_D4(12), DCNV2_D4(16), DCNV2_D4(20), DCNV2_D4(24),
                      DCNV2_D4(28)),
              "%128", "%129", "%130", "%131", "%132")

}  // namespace dcnv2
