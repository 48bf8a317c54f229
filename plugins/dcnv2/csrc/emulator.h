// A CUDA block on a CPU: its threads are coroutines that run one after the other from barrier to barrier.
//
// It stands for device.h, so that the kernels' own source runs where there is no GPU. The warp's matrix instructions
// follow the fragment tables of the PTX ISA. To show mistakes: shared memory starts as NaN, an asynchronous copy leaves
// NaN until it is waited for, and DCNV2_EMULATE_REVERSE runs the threads in the opposite order.
#pragma once

#include <stdint.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define DCNV2_WGMMA
#define DCNV2_BOTH inline
#define DCNV2_DEVICE inline
#define DCNV2_KERNEL(threads, blocks) void

namespace dcnv2 {

using half_t = _Float16;
struct alignas(16) Vec16 {
    uint32_t x, y, z, w;
};
struct Grid {
    int x, y, z;
};
using std::max;
using std::min;

namespace emulator {

struct Copy {
    void* to;
    const void* from;
    bool valid;
};

// A warpgroup's product that waits: its operands are read when it is waited for, so that what is overwritten too early
// shows as a wrong sum.
struct Product {
    float (*sums)[4];
    int columns;               // in eights
    const uint32_t* registers;  // of the left matrix, or null:
    uint64_t left, right;      // descriptors
    bool committed;
};

struct Thread {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(96 * 1024);
    std::vector<Copy> copies;
    bool done = false;
    const void* address = nullptr;             // what ldmatrix was given
    uint32_t words[6] = {};                    // what ldmatrix returns, or mma's a0 to a3, b0, b1
    float* sums = nullptr;                     // mma's c0 to c3
    std::vector<Product> products;
    bool begun = false;                        // wgmma.fence, since the last wait
    std::vector<size_t> unfenced;              // pieces of shared memory that wgmma must not read yet
    uint32_t exchanged = 0;
};

struct Group {  // a warp or a block that waits for its last thread
    int arrived = 0;
    long generation = 0;
};

struct Block {
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<Group> warps, warpgroups;
    Group all;
    std::vector<bool> unfenced;  // for each 16 bytes of shared memory
    unsigned char* memory = nullptr;
    size_t memory_bytes = 0;
    ucontext_t main;
    int current = 0;
    Grid index{};
    std::function<void()> body;
};

inline Block block;

inline void yield() { swapcontext(&block.threads[block.current]->context, &block.main); }

inline void wait(Group& group, int size, const std::function<void()>& last = {}) {
    const long generation = group.generation;
    if (++group.arrived == size) {
        if (last) last();
        group.arrived = 0;
        ++group.generation;
        return;
    }
    while (group.generation == generation) yield();
}

inline void enter() {
    block.body();
    block.threads[block.current]->done = true;
    yield();
}

inline void run(Grid grid, int threads, size_t memory_bytes, const std::function<void()>& body) {
    const bool reverse = getenv("DCNV2_EMULATE_REVERSE") != nullptr;
    std::vector<unsigned char> memory(memory_bytes + 1024);
    block.memory = memory.data() + (1024 - reinterpret_cast<uintptr_t>(memory.data()) % 1024) % 1024;
    block.memory_bytes = memory_bytes;
    block.body = body;
    while (static_cast<int>(block.threads.size()) < threads) block.threads.push_back(std::make_unique<Thread>());
    for (int z = 0; z < grid.z; ++z)
        for (int y = 0; y < grid.y; ++y)
            for (int x = 0; x < grid.x; ++x) {
                block.index = {x, y, z};
                memset(memory.data(), 0xFF, memory.size());
                block.warps.assign((threads + 31) / 32, Group());
                block.warpgroups.assign((threads + 127) / 128, Group());
                block.unfenced.assign(memory_bytes / 16 + 1, false);
                block.all = Group();
                for (int t = 0; t < threads; ++t) {
                    Thread& thread = *block.threads[t];
                    thread.done = false;
                    thread.copies.clear();
                    thread.unfenced.clear();
                    thread.begun = false;
                    if (!thread.products.empty()) abort();  // never waited for
                    getcontext(&thread.context);
                    thread.context.uc_stack.ss_sp = thread.stack.data();
                    thread.context.uc_stack.ss_size = thread.stack.size();
                    thread.context.uc_link = nullptr;
                    makecontext(&thread.context, enter, 0);
                }
                for (bool running = true; running;) {
                    running = false;
                    for (int i = 0; i < threads; ++i) {
                        block.current = reverse ? threads - 1 - i : i;
                        Thread& thread = *block.threads[block.current];
                        if (thread.done) continue;
                        running = true;
                        swapcontext(&block.main, &thread.context);
                    }
                }
            }
}

inline Thread& self() { return *block.threads[block.current]; }
inline Group& warp() { return block.warps[block.current / 32]; }

// c += a * b, element by element, with the places that the PTX ISA gives the fragments of m16n8k16 and m16n8k8.
template <bool HALF>
inline void multiply(int first) {
    constexpr int K = HALF ? 16 : 8;
    double a[16][16] = {}, b[16][8] = {};
    auto half_at = [](uint32_t word, int i) {
        uint16_t bits = static_cast<uint16_t>(word >> (16 * i));
        half_t v;
        memcpy(&v, &bits, 2);
        return static_cast<double>(v);
    };
    auto float_at = [](uint32_t word) {
        word &= 0xFFFFE000u;  // tf32: the hardware ignores the low 13 bits
        float v;
        memcpy(&v, &word, 4);
        return static_cast<double>(v);
    };
    for (int lane = 0; lane < 32; ++lane) {
        const Thread& t = *block.threads[first + lane];
        const int g = lane / 4, q = lane % 4;
        for (int r = 0; r < 4; ++r) {
            const int row = g + (r % 2) * 8;
            if (HALF)
                for (int i = 0; i < 2; ++i) a[row][q * 2 + i + (r / 2) * 8] = half_at(t.words[r], i);
            else
                a[row][q + (r / 2) * 4] = float_at(t.words[r]);
        }
        for (int r = 0; r < 2; ++r) {
            if (HALF)
                for (int i = 0; i < 2; ++i) b[q * 2 + i + r * 8][g] = half_at(t.words[4 + r], i);
            else
                b[q + r * 4][g] = float_at(t.words[4 + r]);
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        const Thread& t = *block.threads[first + lane];
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + (i / 2) * 8, column = (lane % 4) * 2 + i % 2;
            double sum = t.sums[i];
            for (int k = 0; k < K; ++k) sum += a[row][k] * b[k][column];
            t.sums[i] = static_cast<float>(sum);
        }
    }
}

template <bool HALF>
inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    Thread& t = self();
    memcpy(t.words, a, 16);
    t.words[4] = b0;
    t.words[5] = b1;
    t.sums = c;
    const int first = block.current / 32 * 32;
    wait(warp(), 32, [=] { multiply<HALF>(first); });
}

// A number of a K-major matrix in shared memory with the 128-byte swizzle, as the PTX ISA describes it; NaN where it was
// written and not fenced.
inline double element(uint64_t descriptor, int row, int k) {
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) abort();  // another swizzle, or a base offset
    const size_t start = (descriptor & 0x3FFF) << 4, stride = (descriptor >> 32 & 0x3FFF) << 4;
    size_t at = start + row / 8 * stride + row % 8 * 128 + k * 2;
    at ^= (at >> 7 & 7) << 4;
    if (at + 2 > block.memory_bytes) abort();
    half_t v;
    memcpy(&v, block.memory + at, 2);
    return block.unfenced[at / 16] ? NAN : static_cast<double>(v);
}

// The products that a warpgroup waits for; sums and a left matrix in registers lie as Figures "WGMMA .m64nNk16" have it.
inline void multiply_waiting(int first) {
    const size_t count = block.threads[first]->products.size();
    for (size_t i = 0; i < count; ++i) {
        const Product product = block.threads[first]->products[i];
        if (!product.committed) abort();
        std::vector<double> a(64 * 16), b(product.columns * 8 * 16);
        for (int thread = 0; thread < 128; ++thread) {
            const Thread& t = *block.threads[first + thread];
            if (t.products.size() != count || t.products[i].right != product.right || t.products[i].left != product.left)
                abort();  // a warpgroup's threads must agree
            if (!product.registers) continue;
            for (int n = 0; n < 8; ++n) {
                half_t v;
                memcpy(&v, reinterpret_cast<const char*>(t.products[i].registers) + n * 2, 2);
                const int row = thread / 32 * 16 + thread % 32 / 4 + n / 2 % 2 * 8, k = thread % 4 * 2 + n % 2 + n / 4 * 8;
                a[row * 16 + k] = static_cast<double>(v);
            }
        }
        for (int n = 0; n < 64 * 16 && !product.registers; ++n) a[n] = element(product.left, n / 16, n % 16);
        for (int n = 0; n < product.columns * 8 * 16; ++n) b[n] = element(product.right, n / 16, n % 16);
        for (int thread = 0; thread < 128; ++thread)
            for (int n = 0; n < product.columns * 4; ++n) {
                float& to = block.threads[first + thread]->products[i].sums[n / 4][n % 4];
                const int row = thread / 32 * 16 + thread % 32 / 4 + n / 2 % 2 * 8;
                const int column = n / 4 * 8 + thread % 4 * 2 + n % 2;
                double sum = to;
                for (int k = 0; k < 16; ++k) sum += a[row * 16 + k] * b[column * 16 + k];
                to = static_cast<float>(sum);
            }
    }
    for (int thread = 0; thread < 128; ++thread) block.threads[first + thread]->products.clear();
}

inline void written(const void* place) {
    const size_t piece = (static_cast<const unsigned char*>(place) - block.memory) / 16;
    block.unfenced[piece] = true;
    self().unfenced.push_back(piece);
}

}  // namespace emulator

inline int thread_index() { return emulator::block.current; }
inline int block_x() { return emulator::block.index.x; }
inline int block_y() { return emulator::block.index.y; }
inline int block_z() { return emulator::block.index.z; }
inline void sync_block() { emulator::wait(emulator::block.all, static_cast<int>(emulator::block.warps.size()) * 32); }
inline unsigned char* shared_memory() { return emulator::block.memory; }

inline float to_float(float v) { return v; }
inline float to_float(half_t v) { return static_cast<float>(v); }
inline void convert(float v, float& to) { to = v; }
inline void convert(float v, half_t& to) { to = static_cast<half_t>(v); }
inline float exponential(float v) { return std::exp(v); }

inline Vec16 load16(const void* from) {
    Vec16 v;
    if (reinterpret_cast<uintptr_t>(from) % 16) abort();
    memcpy(&v, from, 16);
    return v;
}
template <typename T>
inline float load_value(const T* from) {
    return static_cast<float>(*from);
}

inline uint32_t shared_address(const void* to) {
    return static_cast<uint32_t>(static_cast<const unsigned char*>(to) - emulator::block.memory);
}
inline unsigned char* shared_place(uint32_t address) {
    if (address % 16 || address + 16 > emulator::block.memory_bytes) abort();
    return emulator::block.memory + address;
}
inline void store_shared(uint32_t to, const Vec16& v) {
    memcpy(shared_place(to), &v, 16);
    emulator::written(shared_place(to));
}

inline void copy_async(uint32_t to, const void* from, bool valid) {
    memset(shared_place(to), 0xFF, 16);
    emulator::self().copies.push_back({shared_place(to), from, valid});
}
inline void copy_commit() {}
inline void copy_wait() {
    for (const auto& copy : emulator::self().copies) {
        if (copy.valid)
            memcpy(copy.to, copy.from, 16);
        else
            memset(copy.to, 0, 16);
        emulator::written(copy.to);
    }
    emulator::self().copies.clear();
}

inline void load_matrices(uint32_t (&r)[4], uint32_t row) {
    using namespace emulator;
    Thread& t = self();
    t.address = shared_place(row);
    const int first = block.current / 32 * 32;
    wait(warp(), 32, [=] {
        for (int lane = 0; lane < 32; ++lane)
            for (int m = 0; m < 4; ++m) {
                const void* from = block.threads[first + m * 8 + lane / 4]->address;
                memcpy(&block.threads[first + lane]->words[m], static_cast<const char*>(from) + lane % 4 * 4, 4);
            }
    });
    memcpy(r, t.words, 16);
}

inline void multiply_half(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    emulator::multiply<true>(c, a, b0, b1);
}
inline void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    emulator::multiply<false>(c, a, b0, b1);
}

inline void fence_async() {
    for (size_t piece : emulator::self().unfenced) emulator::block.unfenced[piece] = false;
    emulator::self().unfenced.clear();
}
inline void begin_products() { emulator::self().begun = true; }
inline void commit_products() {
    for (auto& product : emulator::self().products) product.committed = true;
}
inline void wait_products() {
    using namespace emulator;
    const int first = block.current / 128 * 128;
    wait(block.warpgroups[block.current / 128], 128, [=] { multiply_waiting(first); });
    self().begun = false;
}
template <int COUNT>
void multiply_group(float (&sums)[COUNT][4], uint64_t left, uint64_t right) {
    if (!emulator::self().begun) abort();
    emulator::self().products.push_back({sums, COUNT, nullptr, left, right, false});
}
template <int COUNT>
void multiply_group(float (&sums)[COUNT][4], const uint32_t (&left)[4], uint64_t right) {
    if (!emulator::self().begun) abort();
    emulator::self().products.push_back({sums, COUNT, left, 0, right, false});
}
template <typename Values>
void pin(Values&) {}
inline uint32_t exchange(uint32_t v, int lanes) {
    using namespace emulator;
    self().exchanged = v;
    wait(warp(), 32);
    const uint32_t got = block.threads[block.current ^ lanes]->exchanged;
    wait(warp(), 32);
    return got;
}

template <typename To, typename From>
To bits_as(From v) {
    To r;
    static_assert(sizeof(To) == sizeof(From), "of one size");
    memcpy(&r, &v, sizeof(r));
    return r;
}
inline float as_float(uint32_t v) { return bits_as<float>(v); }
inline uint32_t round_tf32(float v) { return (bits_as<uint32_t>(v) + 0x1000u) & 0xFFFFE000u; }

struct Half2 {
    half_t low, high;
};
inline Half2 make_half2_(float low, float high) { return {static_cast<half_t>(low), static_cast<half_t>(high)}; }
inline Half2 low_of(Half2 w) { return {w.low, w.low}; }
inline Half2 high_of(Half2 w) { return {w.high, w.high}; }
inline Half2 as_half2(uint32_t v) { return bits_as<Half2>(v); }
inline uint32_t as_word(Half2 v) { return bits_as<uint32_t>(v); }
inline Half2 multiply2(Half2 a, Half2 b) {
    return {static_cast<half_t>(float(a.low) * float(b.low)), static_cast<half_t>(float(a.high) * float(b.high))};
}
inline Half2 fuse2(Half2 a, Half2 b, Half2 c) {
    return {static_cast<half_t>(double(a.low) * double(b.low) + double(c.low)),
            static_cast<half_t>(double(a.high) * double(b.high) + double(c.high))};
}

// The host's side.
inline const char* allocate(void** memory, size_t bytes) {
    *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *memory ? nullptr : "out of memory";
}
inline const char* upload(void* to, const void* from, size_t bytes) {
    memcpy(to, from, bytes);
    return nullptr;
}
inline void release(void* memory) { free(memory); }
struct Machine {
    int multiprocessors, block_bytes, multiprocessor_bytes;
};
inline const char* describe_machine(Machine* machine) {
    const char* multiprocessors = getenv("DCNV2_EMULATE_MULTIPROCESSORS");
    *machine = {multiprocessors ? atoi(multiprocessors) : 132, 227 << 10, 228 << 10};
    return nullptr;
}
template <typename Arguments>
const char* configure(void (*)(Arguments), const Machine&, int) {
    return nullptr;
}
template <typename Arguments>
const char* launch(void (*kernel)(Arguments), Grid grid, int threads, size_t shared_bytes, void*,
                   const Arguments& arguments) {
    emulator::run(grid, threads, shared_bytes, [&] { kernel(arguments); });
    return nullptr;
}

}  // namespace dcnv2
