// Work shared by threads: a queue of items from which each thread takes the next one when it is
// free, so that a thread with cheap items takes more of them.
//
// Two kinds of threads. The operators run on the caller's pool (torch's), handed in as a
// ParallelFor: a second pool beside it would fight for the same cores. The text code, which knows
// no torch, starts threads of its own for each call; its calls take seconds.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace snakelm {

// The caller's pool: runs body(i, context) for i in [0, n), on as many threads as it likes.
using ParallelFor = void (*)(int64_t n, void (*body)(int64_t, void*), void* context);

// Calls work(item) once for each item in [0, items) on the caller's pool. False when some item
// threw: of a kernel only bad_alloc can come, and no exception may cross the caller's pool.
template <class Work>
bool for_each_item(int64_t items, int threads, ParallelFor parallel_for, const Work& work) {
  struct Queue {
    const Work& work;
    const int64_t items;
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
  } queue{work, items};

  const auto drain = [](int64_t, void* context) {
    Queue& queue = *static_cast<Queue*>(context);
    try {
      for (int64_t i; (i = queue.next.fetch_add(1)) < queue.items;) queue.work(i);
    } catch (const std::exception&) {
      queue.failed = true;
    }
  };
  parallel_for(std::min<int64_t>(threads, items), drain, &queue);

  return !queue.failed;
}

// More threads are never started, whatever is asked for: each takes memory beforehand.
constexpr int MOST_THREADS = 1024;

inline size_t threads_for(size_t items, int threads) {
  return std::min(static_cast<size_t>(std::clamp(threads, 1, MOST_THREADS)), items);
}

// Calls work(item, thread) once for each item on threads of our own, thread in
// [0, threads_for(items, threads)). The first exception stops the others and is thrown here.
template <class Work>
void for_each_item(size_t items, int threads, const Work& work) {
  std::atomic<size_t> next{0};
  std::mutex failure_lock;
  std::exception_ptr failure;
  const auto drain = [&](size_t thread) {
    try {
      for (size_t item; (item = next.fetch_add(1)) < items;) work(item, thread);
    } catch (...) {
      const std::lock_guard<std::mutex> guard(failure_lock);
      if (!failure) failure = std::current_exception();
      next = items;
    }
  };

  const size_t wanted = threads_for(items, threads);
  std::vector<std::thread> pool;
  try {
    for (size_t thread = 1; thread < wanted; ++thread) pool.emplace_back(drain, thread);
  } catch (const std::system_error&) {
    // The system grants no more threads: those that run, and this one, do all the work.
  }
  drain(0);
  for (std::thread& thread : pool) thread.join();

  if (failure) std::rethrow_exception(failure);
}

}  // namespace snakelm
