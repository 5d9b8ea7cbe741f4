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

}  // namespace snakelm
