// An array that is its own, or lies in memory that someone else keeps: a file's.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace snakelm::text {

template <class T>
class Array {
 public:
  Array() = default;
  explicit Array(std::vector<T> owned)
      : owned_(std::move(owned)), data_(owned_.data()), size_(owned_.size()) {}
  Array(const T* data, size_t size) : data_(data), size_(size) {}
  Array(Array&&) = default;  // a vector that is moved keeps its elements where they are
  Array& operator=(Array&&) = default;

  const T& operator[](size_t i) const { return data_[i]; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }

  // Of an array that is its own.
  T& own(size_t i) { return owned_[i]; }

 private:
  std::vector<T> owned_;
  const T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace snakelm::text
