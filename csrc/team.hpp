// Work that is shared out between the threads of torch.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>

#include <dlfcn.h>
#include <pthread.h>

namespace rlaif {

// The OpenMP runtime that torch has brought into this process: threads of a second pool would compete with its own,
// which go on looking for work for a while after each of torch's operations. The names are those that GCC calls.
struct OpenMp {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
    int (*number)();
    int (*size)();

    static OpenMp found() {
        const auto named = [](const char* name) { return dlsym(RTLD_DEFAULT, name); };
        return {reinterpret_cast<decltype(parallel)>(named("GOMP_parallel")),
                reinterpret_cast<decltype(number)>(named("omp_get_thread_num")),
                reinterpret_cast<decltype(size)>(named("omp_get_num_threads"))};
    }
    // Looked for until all is found, for torch may be imported later; a look takes as long as a short row.
    static const OpenMp& torchs() {
        static OpenMp known = found();
        if (!known.complete()) known = found();
        return known;
    }
    // A child has none of the threads that its parent's OpenMP believes it has, and would wait for them for ever. Nobody
    // tells whether there were any, for torch may have used them: from `watch` on, every child counts.
    static bool& forked() {
        static bool yes = false;
        return yes;
    }
    static void watch() { pthread_atfork(nullptr, nullptr, [] { forked() = true; }); }
    bool complete() const { return parallel && number && size; }
};

// Waking a thread takes about 40 microseconds, in which one alone does this much: numbers of which an exponential is taken, or
// tokens of a scan. Files that share out work say how much of it one is worth.
constexpr std::size_t alone = 131072;

// Members that do the same work and wait for each other.
class Team {
  public:
    explicit Team(std::size_t size) : size_(openmp_.complete() ? std::max<std::size_t>(size, 1) : 1) {}
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    std::size_t size() const { return size_; }  // at most

    // work(number, how many there are) in every member; returns when all are done, and throws what the first of them threw,
    // for OpenMP's own frames let nothing through. Members that wait for each other must not throw.
    template <typename Work>
    void run(Work work) {
        if (size_ == 1 || OpenMp::forked()) return work(0, 1);  // a team may be older than its process
        Given<Work> given{work, openmp_};
        const auto each = [](void* data) {
            auto& its = *static_cast<Given<Work>*>(data);
            try {
                its.work(std::size_t(its.openmp.number()), std::size_t(its.openmp.size()));
            } catch (...) {
                if (!its.failed.exchange(true)) its.failure = std::current_exception();
            }
        };
        openmp_.parallel(each, &given, unsigned(size_), 0);
        if (given.failure) std::rethrow_exception(given.failure);
    }

    // Until each of `size` members waits. What they do lasts microseconds, so they look a while before they make way.
    void wait(std::size_t size) {
        const std::size_t meeting = meetings_.load(std::memory_order_acquire);
        if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
            waiting_.store(0, std::memory_order_relaxed);
            meetings_.store(meeting + 1, std::memory_order_release);
            return;
        }
        for (std::size_t looks = 0; meetings_.load(std::memory_order_acquire) == meeting; ++looks) {
            if (looks > 2000) std::this_thread::yield();
        }
    }

  private:
    template <typename Work>
    struct Given {
        Work& work;
        const OpenMp& openmp;
        std::atomic<bool> failed{false};
        std::exception_ptr failure;
    };
    const OpenMp& openmp_ = OpenMp::torchs();
    std::size_t size_;
    std::atomic<std::size_t> waiting_{0}, meetings_{0};
};

}  // namespace rlaif
