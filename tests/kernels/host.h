// A CPU in the place of device.h: blocks run one after the other, and the threads of a block as threads of the system,
// which meet at barriers. How many a block has is said at the launch; with one, nothing is started.
#pragma once

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#define DEVICE inline
#define SHARED static
#define UNROLL(times)
#define KERNEL(name, Arguments, threads)                                                            \
    static void name(const Arguments& args);                                                        \
    extern "C" void launch_##name(int x, int y, int z, int count, const Arguments* args) {          \
        host::run(x, y, z, count, [&] { name(*args); });                                            \
    }                                                                                               \
    static void name(const Arguments& args)

namespace host {
struct Place {
    int thread = 0, threads = 1, x = 0, y = 0, z = 0, grid_x = 1;
};
inline thread_local Place place;
inline std::barrier<>* meeting = nullptr;

template <typename Body>
void run(int x, int y, int z, int threads, const Body& body) {
    std::barrier<> barrier(threads);
    meeting = &barrier;
    auto blocks = [&](int thread) {
        for (int k = 0; k < z; ++k)
            for (int j = 0; j < y; ++j)
                for (int i = 0; i < x; ++i) {
                    place = {thread, threads, i, j, k, x};
                    body();
                    barrier.arrive_and_wait();  // shared memory is the next block's
                }
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(blocks, t);
    blocks(0);
    for (auto& other : others) other.join();
}
}  // namespace host

DEVICE int thread_index() { return host::place.thread; }
template <int THREADS>
DEVICE int thread_count() {
    return host::place.threads;
}
DEVICE int block_x() { return host::place.x; }
DEVICE int block_y() { return host::place.y; }
DEVICE int block_z() { return host::place.z; }
DEVICE int grid_x() { return host::place.grid_x; }
DEVICE void sync_block() { host::meeting->arrive_and_wait(); }

DEVICE int count_up(int* counter) { return std::atomic_ref(*counter).fetch_add(1); }
DEVICE int add_to(int* sum, int more) { return std::atomic_ref(*sum).fetch_add(more); }
DEVICE void or_into(unsigned* bits, unsigned more) { std::atomic_ref(*bits).fetch_or(more); }
DEVICE void and_into(unsigned* bits, unsigned left) { std::atomic_ref(*bits).fetch_and(left); }
DEVICE int lowest_bit(unsigned long long bits) { return __builtin_ctzll(bits); }
DEVICE int ones_in(unsigned bits) { return __builtin_popcount(bits); }

DEVICE unsigned load_word(const unsigned* from) { return *from; }
DEVICE unsigned char load_byte(const unsigned char* from) { return *from; }
DEVICE unsigned funnel(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> shift);
}

DEVICE unsigned permuted(unsigned low, unsigned high, unsigned which) {
    const unsigned long long bytes = static_cast<unsigned long long>(high) << 32 | low;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) result |= static_cast<unsigned>(bytes >> (8 * (which >> (4 * i) & 7)) & 255) << (8 * i);
    return result;
}
DEVICE unsigned dot_low(unsigned weights, unsigned bytes) {
    return (weights & 0xFFFF) * (bytes & 255) + (weights >> 16) * (bytes >> 8 & 255);
}
DEVICE unsigned dot_high(unsigned weights, unsigned bytes) { return dot_low(weights, bytes >> 16); }
DEVICE unsigned high_product(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}

template <typename To, typename From>
To bits(From v) {
    To to;
    std::memcpy(&to, &v, sizeof to);
    return to;
}
DEVICE unsigned bits_of(float v) { return bits<unsigned>(v); }
DEVICE float float_of(unsigned v) { return bits<float>(v); }
DEVICE unsigned short half_bits_of(float v) { return bits<unsigned short>(static_cast<_Float16>(v)); }
DEVICE float float_of_half(unsigned short h) { return static_cast<float>(bits<_Float16>(h)); }
using std::ceil;
using std::fabs;
using std::floor;
using std::rint;
