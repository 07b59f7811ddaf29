// Starting kernels: on the device and stream that were asked for, without waiting, and with a name for what fails.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "device.cuh"
#include "kernels.hpp"

namespace rlaif::cuda {

// One operation on one queue: its device is the current one until the end of its life.
class Call {
public:
    Call(const char* name, Size rows, Size columns, Queue queue)
        : name_(name), rows_(rows), columns_(columns), stream_(reinterpret_cast<cudaStream_t>(queue.stream)) {
        check(cudaGetDevice(&before_), "cudaGetDevice");
        if (queue.device == before_) return;
        check(cudaSetDevice(queue.device), "cudaSetDevice");
        moved_ = true;
    }
    ~Call() {
        if (moved_) cudaSetDevice(before_);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    template <typename... Parameters, typename... Arguments>
    void launch(const char* what, void (*kernel)(Parameters...), Size blocks, int threads, Arguments... arguments) {
        if (blocks <= 0) return;
        if (blocks > 0x7fffffff) throw std::invalid_argument(description(what) + ": more blocks than a grid holds");
#ifdef __CUDACC__
        kernel<<<unsigned(blocks), unsigned(threads), 0, stream_>>>(arguments...);
#else
        emulator::run(unsigned(blocks), unsigned(threads), stream_, [&] { kernel(arguments...); });
#endif
        check(cudaGetLastError(), what);
        if (waits()) check(cudaStreamSynchronize(stream_), what);
    }

private:
    // RLAIF_CUDA_SYNC=1 finds the kernel that failed, where otherwise a later call would be blamed.
    static bool waits() {
        const char* said = std::getenv("RLAIF_CUDA_SYNC");
        return said && *said == '1';
    }
    std::string description(const char* what) const {
        return std::string(name_) + " of [" + std::to_string(rows_) + ", " + std::to_string(columns_) + "], " + what;
    }
    void check(cudaError_t error, const char* what) const {
        if (error != cudaSuccess) throw std::runtime_error(description(what) + ": " + cudaGetErrorString(error));
    }

    const char* name_;
    Size rows_, columns_;
    cudaStream_t stream_;
    int before_ = 0;
    bool moved_ = false;
};

inline constexpr Size blocks_for(Size count, Size each) { return (count + each - 1) / each; }

}  // namespace rlaif::cuda
