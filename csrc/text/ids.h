// Token ids as an encoder writes them: a growing array without std::vector's zeros, because every
// id is written once anyway, and grown by realloc, which moves large blocks without copying them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace snakelm::text {

class Ids {
 public:
  const uint32_t* data() const { return begin_.get(); }
  const uint32_t* begin() const { return data(); }
  const uint32_t* end() const { return data() + size_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void clear() { size_ = 0; }

  // Where to write `count` more ids; `wrote` says behind the last one that counts.
  uint32_t* room(size_t count) {
    if (capacity_ - size_ < count) grow(count);
    return begin_.get() + size_;
  }
  void wrote(const uint32_t* end) { size_ = static_cast<size_t>(end - begin_.get()); }

  void push_back(uint32_t id) {
    *room(1) = id;
    ++size_;
  }

  bool operator==(const Ids& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  struct Free {
    void operator()(uint32_t* p) const { std::free(p); }
  };

  void grow(size_t count) {
    const size_t wanted = std::max(size_ + count, capacity_ + capacity_ / 2);
    void* const larger = std::realloc(begin_.get(), wanted * sizeof(uint32_t));
    if (!larger) throw std::bad_alloc();
    static_cast<void>(begin_.release());  // realloc has it
    begin_.reset(static_cast<uint32_t*>(larger));
    capacity_ = wanted;
  }

  std::unique_ptr<uint32_t, Free> begin_;
  size_t size_ = 0, capacity_ = 0;
};

}  // namespace snakelm::text
