// What the tests ask of the emulator and set in it, by ctypes.
#include "emulator.hpp"

extern "C" {
void emulator_reset() { emulator::seen = {}; }
void emulator_turn_round(bool backwards) { emulator::seen.backwards = backwards; }
void emulator_fail_after(int launches) { emulator::seen.fail_after = launches; }
void emulator_set_device(int device) { emulator::seen.device = device; }
int emulator_device() { return emulator::seen.device; }
int emulator_launches() { return emulator::seen.launches; }
int emulator_waits() { return emulator::seen.waits; }
int emulator_device_of(int launch) { return emulator::seen.queues.at(std::size_t(launch)).first; }
std::uintptr_t emulator_stream_of(int launch) { return emulator::seen.queues.at(std::size_t(launch)).second; }
void emulator_widen(const std::uint16_t* from, float* to, int count, bool brain) {
    for (int i = 0; i < count; ++i) to[i] = brain ? __bfloat162float({from[i]}) : __half2float({from[i]});
}
void emulator_narrow(const float* from, std::uint16_t* to, int count, bool brain) {
    for (int i = 0; i < count; ++i) to[i] = brain ? __float2bfloat16_rn(from[i]).bits : __float2half_rn(from[i]).bits;
}
// A block in which only the first thread reaches the barrier: 1 if that is noticed.
int emulator_notices_a_missed_barrier() {
    try {
        emulator::run(1, 32, nullptr, [] {
            if (threadIdx.x == 0) __syncthreads();
        });
    } catch (const std::logic_error&) {
        return 1;
    }
    return 0;
}
}
