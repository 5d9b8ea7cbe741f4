#include "text/merge_table.h"

namespace snakelm::text {

MergeTable::MergeTable(size_t pairs) {
  size_t capacity = 1024;
  while (capacity < 2 * pairs) capacity *= 2;
  slots_.assign(capacity, {NO_TOKEN, NO_TOKEN, NO_TOKEN});
  mask_ = capacity - 1;
}

void MergeTable::insert(uint32_t left, uint32_t right, uint32_t id) {
  uint64_t i = place(left, right);
  while (slots_[i].left != NO_TOKEN) i = (i + 1) & mask_;
  slots_[i] = {left, right, id};
}

}  // namespace snakelm::text
