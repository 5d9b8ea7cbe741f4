// Chunks of consecutive texts, worked off by threads that take the next one when free.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace snakelm::text {

// Bounds [chunks + 1] of runs of texts with about `bytes` bytes each; a longer text is a chunk of its own.
template <class Texts>
std::vector<size_t> chunk_bounds(const Texts& texts, size_t bytes) {
    std::vector<size_t> bounds{0};
    size_t filled = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
        filled += texts[i].length;
        if (filled >= bytes || i + 1 == texts.size()) bounds.push_back(i + 1), filled = 0;
    }
    return bounds;
}

// Calls work(chunk, thread) once per chunk. The first exception stops the others and is thrown here.
template <class Work>
void for_each_chunk(size_t chunks, int threads, Work work) {
    std::atomic<size_t> next{0};
    std::mutex failure_lock;
    std::exception_ptr failure;
    const auto run = [&](size_t thread) {
        try {
            for (size_t chunk; (chunk = next.fetch_add(1)) < chunks;) work(chunk, thread);
        } catch (...) {
            const std::lock_guard<std::mutex> guard(failure_lock);
            if (!failure) failure = std::current_exception();
            next = chunks;
        }
    };
    const size_t wanted = std::min(static_cast<size_t>(std::max(threads, 1)), chunks);
    std::vector<std::thread> pool;
    try {
        for (size_t thread = 1; thread < wanted; ++thread) pool.emplace_back(run, thread);
    } catch (const std::system_error&) {
        // The system grants no more threads: those that run, and this one, do all the work.
    }
    run(0);
    for (std::thread& thread : pool) thread.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace snakelm::text
