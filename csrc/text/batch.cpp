#include "text/batch.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "common/huge_pages.h"
#include "common/parallel.h"
#include "text/unicode.h"

namespace snakelm::text {
namespace {

// Fewer than most texts have, so that their ids need not move. Memory that nobody touches is none.
constexpr size_t BYTES_OF_A_TOKEN = 2;

// Whether a letter always ends a piece where no letter, mark or apostrophe follows. So it is in the
// patterns of words and contractions: a run of letters ends there, as does a contraction, and
// nothing that begins with letters goes on behind them. (An elision takes U+2019 along.)
bool cut_behind_letters(Pattern pattern) {
  switch (pattern) {
    case Pattern::gpt2:
    case Pattern::cl100k:
    case Pattern::o200k:
    case Pattern::llama3:
    case Pattern::qwen2:
    case Pattern::nanochat: return true;
    case Pattern::elision:
    case Pattern::whole: break;
  }
  return false;
}

}  // namespace

size_t safe_cut(Pattern pattern, View text, size_t at) {
  if (!cut_behind_letters(pattern)) return text.length;
  const Bytes end = text.data + text.length;
  // Reading may begin inside a character: its rest counts as damaged, and no letter.
  Bytes p = text.data + std::min(at, text.length);
  for (bool letter = false; p != end;) {
    const Char c = read_char(p, end);
    if (letter && !is_letter(c.kind) && c.kind != MARK && *p != '\'') break;
    letter = is_letter(c.kind);
    p += c.length;
  }
  return static_cast<size_t>(p - text.data);
}

template <class Id>
Batch<Id>::Batch(const Encoder& encoder, const std::vector<View>& texts, int threads,
                 uint32_t before, size_t task_bytes)
    : starts_(texts.size()) {
  const size_t largest = std::numeric_limits<Id>::max();
  if (encoder.vocabulary().size() > largest + 1 || (before != NO_TOKEN && before > largest)) {
    throw std::invalid_argument("ids of " + std::to_string(8 * sizeof(Id)) +
                                " bits are too narrow for this vocabulary");
  }

  cut(encoder.pattern(), texts, task_bytes);
  const size_t count = tasks_.size() - 1;
  const size_t bytes = std::accumulate(texts.begin(), texts.end(), size_t{0},
                                       [](size_t sum, View text) { return sum + text.length; });
  room_ = bytes / BYTES_OF_A_TOKEN + texts.size();
  all_.room(room_);

  std::deque<Encoder::Lent<Id>> scratch;  // stays where it is: a Lent does not move
  workers_.resize(threads_for(count, threads));
  for (size_t i = 0; i < workers_.size(); ++i) scratch.emplace_back(encoder);
  for_each_item(count, threads, [&](size_t task, size_t thread) {
    Worker& worker = workers_[thread];
    IdsOf<Id>& ids = workers_.size() == 1 ? all_ : worker.ids;
    const size_t first = ids.size();
    if (workers_.size() > 1) clear_ahead();
    encode(encoder, texts, before, task, *scratch[thread], ids);
    tasks_[task].count = ids.size() - first;
    if (workers_.size() > 1) worker.waiting.push_back({task, first});
    finish(task, worker);
  });
}

template <class Id>
void Batch<Id>::clear_ahead() {
  constexpr size_t PAGE = HUGE_PAGE / sizeof(Id);
  if (room_ < 4 * PAGE) return;  // not in large pages (ids.h)
  Id* const begin = all_.room(0);
  size_t from = 0, to = 0;
  {
    const std::lock_guard<std::mutex> guard(lock_);
    from = to = cleared_;
    while (to < room_ && to < size_ + PAGE) to += PAGE;
    to = cleared_ = std::min(to, room_);
  }
  if (from < to) make_present(begin + from, begin + to);
}

template <class Id>
void Batch<Id>::finish(size_t task, Worker& worker) {
  size_t placed = 0;
  {
    const std::lock_guard<std::mutex> guard(lock_);
    tasks_[task].done = true;
    for (; tasks_[placed_].done; ++placed_) {
      tasks_[placed_].place = size_;
      size_ += tasks_[placed_].count;
    }
    placed = placed_;
  }

  std::erase_if(worker.waiting, [&](std::pair<size_t, size_t> waiting) {
    const Task& done = tasks_[waiting.first];
    if (waiting.first >= placed || done.place + done.count > room_) return false;
    copy(worker, waiting);
    return true;
  });
  if (worker.waiting.empty()) worker.ids.clear();
}

template <class Id>
void Batch<Id>::copy(const Worker& worker, std::pair<size_t, size_t> waiting) {
  const auto [task, first] = waiting;
  Id* const begin = all_.room(0);  // nothing counts as written before the end
  std::copy_n(worker.ids.data() + first, tasks_[task].count, begin + tasks_[task].place);
}

template <class Id>
void Batch<Id>::cut(Pattern pattern, const std::vector<View>& texts, size_t task_bytes) {
  size_t room = 0;  // bytes that the task begun last still takes
  for (size_t text = 0; text < texts.size(); ++text) {
    size_t byte = 0;
    if (room == 0) tasks_.push_back({text, 0}), room = task_bytes;

    // Only a text that fills a task of its own is worth a cut.
    const size_t length = texts[text].length;
    while (length - byte > room + task_bytes) {
      byte = safe_cut(pattern, texts[text], byte + room);
      if (byte == length) break;
      tasks_.push_back({text, byte}), room = task_bytes;
    }
    room -= std::min(room, length - byte);
  }
  tasks_.push_back({texts.size(), 0});
}

template <class Id>
void Batch<Id>::encode(const Encoder& encoder, const std::vector<View>& texts, uint32_t before,
                       size_t task, Scratch<Id>& scratch, IdsOf<Id>& ids) {
  const Task& begin = tasks_[task];
  const Task& end = tasks_[task + 1];
  const size_t first = ids.size();

  size_t from = begin.byte;
  for (size_t text = begin.text; text < end.text || (text == end.text && from < end.byte); ++text) {
    if (from == 0) {
      starts_[text] = ids.size() - first;
      if (before != NO_TOKEN) ids.push_back(static_cast<Id>(before));
    }
    const size_t to = text == end.text ? end.byte : texts[text].length;
    encoder.encode({texts[text].data + from, to - from}, scratch, ids);
    from = 0;
  }
}

template <class Id>
IdsOf<Id> Batch<Id>::take(int64_t* offsets) {
  const size_t more = size_ - all_.size();  // none of one thread's
  Id* const end = all_.room(more) + more;
  for (const Worker& worker : workers_) {
    for (const auto& waiting : worker.waiting) copy(worker, waiting);
  }
  all_.wrote(end);
  all_.give_back_room();

  for (size_t i = 0; i + 1 < tasks_.size(); ++i) {
    const Task &task = tasks_[i], &next = tasks_[i + 1];
    // A text that this task only goes on with began in an earlier one.
    for (size_t text = task.text + (task.byte > 0); text < starts_.size(); ++text) {
      if (text > next.text || (text == next.text && next.byte == 0)) break;
      offsets[text] = static_cast<int64_t>(task.place + starts_[text]);
    }
  }
  offsets[starts_.size()] = static_cast<int64_t>(size_);
  return std::move(all_);
}

template class Batch<uint16_t>;
template class Batch<uint32_t>;

}  // namespace snakelm::text
