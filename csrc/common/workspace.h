// Scratch memory of one thread, kept between calls: a fresh megabyte costs 256 page faults, more
// than packing fills it with. It grows to the largest call and stays; kernels hold one Workspace at
// a time and never nest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace snakelm::SNAKELM_ISA {

class Workspace {
 public:
  explicit Workspace(size_t bytes) {
    Block& block = kept();
    if (block.size < bytes) {
      std::free(block.data);
      block.size = 0;
      block.data = std::aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
      if (!block.data) throw std::bad_alloc();
      block.size = bytes;
    }
    next_ = static_cast<char*>(block.data);
  }

  template <class T>
  T* take(size_t count) {
    T* const taken = reinterpret_cast<T*>(next_);
    next_ += (count * sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return taken;
  }

 private:
  static constexpr size_t ALIGNMENT = 64;
  struct Block {
    void* data = nullptr;
    size_t size = 0;
    ~Block() { std::free(data); }
  };
  static Block& kept() {
    static thread_local Block block;
    return block;
  }
  char* next_;
};

}  // namespace snakelm::SNAKELM_ISA
