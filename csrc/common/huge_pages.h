// Large memory in large pages, where the system has some: its first touch takes a fraction of the
// time then, and a random access does not miss the TLB besides.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace snakelm {

constexpr size_t HUGE_PAGE = size_t{2} << 20;  // of x86-64; elsewhere an alignment as good

// To be asked before the first touch. Does nothing for less than a page.
inline void ask_for_huge_pages(void* memory, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const size_t before = -reinterpret_cast<uintptr_t>(memory) % HUGE_PAGE;
  if (bytes >= before + HUGE_PAGE)
    madvise(static_cast<char*>(memory) + before, bytes - before, MADV_HUGEPAGE);
#else
  static_cast<void>(memory), static_cast<void>(bytes);
#endif
}

// Has the memory of [begin, end) cleared now, by this thread alone, and leaves what is in it. A
// first touch by two threads at once has a large page cleared twice, one of which the system drops.
// Does nothing where the system can't (Linux before 5.14).
inline void make_present(void* begin, void* end) {
#if defined(__linux__) && defined(MADV_POPULATE_WRITE)
  constexpr uintptr_t PAGE = 4096;
  const uintptr_t first = reinterpret_cast<uintptr_t>(begin) / PAGE * PAGE;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end);
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_POPULATE_WRITE);
#else
  static_cast<void>(begin), static_cast<void>(end);
#endif
}

}  // namespace snakelm
