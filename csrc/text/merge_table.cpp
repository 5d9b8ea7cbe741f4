#include "text/merge_table.h"

namespace snakelm::text {

MergeTable::MergeTable(size_t pairs, const Seeds& seeds) : seeds_(seeds) {
  size_t capacity = 1024;
  while (capacity < 2 * pairs) capacity *= 2;
  slots_ = Array(std::vector<Slot>(capacity, {NO_TOKEN, NO_TOKEN, NO_TOKEN}));
  mask_ = capacity - 1;
}

MergeTable::MergeTable(Array<Slot> slots, const Seeds& seeds)
    : slots_(std::move(slots)), mask_(slots_.size() - 1), seeds_(seeds) {}

void MergeTable::insert(uint32_t left, uint32_t right, uint32_t id) {
  uint64_t i = place(left, right);
  while (slots_[i].left != NO_TOKEN) i = (i + 1) & mask_;
  slots_.own(i) = {left, right, id};
}

}  // namespace snakelm::text
