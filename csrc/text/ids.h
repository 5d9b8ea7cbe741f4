// Token ids as an encoder writes them: a growing array without std::vector's zeros, because every
// id is written once anyway, and grown by realloc, which moves large blocks without copying them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "common/huge_pages.h"

namespace snakelm::text {

// Ids of another width, each of which fits; returns behind the last one.
template <class Id, class Other>
Id* copy_ids(const Other* ids, size_t count, Id* out) {
  return std::transform(ids, ids + count, out, [](Other id) { return static_cast<Id>(id); });
}

// A cache line for each: threads that write beside one another would pass it back and forth.
template <class Id>
class alignas(64) IdsOf {
 public:
  const Id* data() const { return begin_.get(); }
  const Id* begin() const { return data(); }
  const Id* end() const { return data() + size_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void clear() { size_ = 0; }

  // Where to write `count` more ids; `wrote` says behind the last one that counts.
  Id* room(size_t count) {
    if (capacity_ - size_ < count) grow(count);
    return begin_.get() + size_;
  }
  void wrote(const Id* end) { size_ = static_cast<size_t>(end - begin_.get()); }

  void push_back(Id id) {
    *room(1) = id;
    ++size_;
  }

  template <class Other>
  void append(const Other* ids, size_t count) {
    wrote(copy_ids(ids, count, room(count)));
  }

  void give_back_room() {
    if (size_ < capacity_) resize(std::max<size_t>(size_, 1));
  }

  bool operator==(const IdsOf& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  struct Free {
    void operator()(Id* p) const { std::free(p); }
  };

  void grow(size_t count) { resize(std::max(size_ + count, capacity_ + capacity_ / 2)); }

  void resize(size_t capacity) {
    void* const moved = std::realloc(begin_.get(), capacity * sizeof(Id));
    if (!moved) throw std::bad_alloc();
    static_cast<void>(begin_.release());  // realloc has it
    begin_.reset(static_cast<Id*>(moved));
    capacity_ = capacity;
    if (capacity * sizeof(Id) >= 4 * HUGE_PAGE) ask_for_huge_pages(moved, capacity * sizeof(Id));
  }

  std::unique_ptr<Id, Free> begin_;
  size_t size_ = 0, capacity_ = 0;
};

using Ids = IdsOf<uint32_t>;

}  // namespace snakelm::text
