#include "text/batch.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/parallel.h"
#include "text/unicode.h"

namespace snakelm::text {
namespace {

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
    : starts_(texts.size()), threads_(threads) {
  const size_t largest = std::numeric_limits<Id>::max();
  if (encoder.vocabulary().size() > largest + 1 || (before != NO_TOKEN && before > largest)) {
    throw std::invalid_argument("ids of " + std::to_string(8 * sizeof(Id)) +
                                " bits are too narrow for this vocabulary");
  }

  cut(encoder.pattern(), texts, task_bytes);
  const size_t count = tasks_.size() - 1;
  std::deque<Encoder::Lent> scratch;  // stays where it is: a Lent does not move
  std::vector<Ids> ids(threads_for(count, threads));
  for (size_t i = 0; i < ids.size(); ++i) scratch.emplace_back(encoder);
  for_each_item(count, threads, [&](size_t task, size_t thread) {
    encode(encoder, texts, before, task, *scratch[thread], ids[thread]);
  });
  for (const Task& task : tasks_) size_ += task.count;
}

template <class Id>
void Batch<Id>::cut(Pattern pattern, const std::vector<View>& texts, size_t task_bytes) {
  size_t room = 0;  // bytes that the task begun last still takes
  for (size_t text = 0; text < texts.size(); ++text) {
    size_t byte = 0;
    if (room == 0) tasks_.push_back({text, 0, nullptr}), room = task_bytes;

    // Only a text that fills a task of its own is worth a cut.
    const size_t length = texts[text].length;
    while (length - byte > room + task_bytes) {
      byte = safe_cut(pattern, texts[text], byte + room);
      if (byte == length) break;
      tasks_.push_back({text, byte, nullptr}), room = task_bytes;
    }
    room -= std::min(room, length - byte);
  }
  tasks_.push_back({texts.size(), 0, nullptr});
}

template <class Id>
void Batch<Id>::encode(const Encoder& encoder, const std::vector<View>& texts, uint32_t before,
                       size_t task, Scratch& scratch, Ids& ids) {
  Task& begin = tasks_[task];
  const Task& end = tasks_[task + 1];
  ids.clear();

  size_t from = begin.byte;
  for (size_t text = begin.text; text < end.text || (text == end.text && from < end.byte); ++text) {
    if (from == 0) {
      starts_[text] = ids.size();
      if (before != NO_TOKEN) ids.push_back(before);
    }
    const size_t to = text == end.text ? end.byte : texts[text].length;
    encoder.encode({texts[text].data + from, to - from}, scratch, ids);
    from = 0;
  }

  begin.count = ids.size();
  begin.ids = std::make_unique_for_overwrite<Id[]>(ids.size());
  std::transform(ids.begin(), ids.end(), begin.ids.get(),
                 [](uint32_t id) { return static_cast<Id>(id); });

  // One huge piece must not hold its memory for the rest of the batch.
  if (ids.size() > 8 * TASK_BYTES) ids = Ids();
}

template <class Id>
void Batch<Id>::take(Id* ids, int64_t* offsets) {
  const size_t count = tasks_.size() - 1;
  std::vector<size_t> first(count + 1, 0);
  for (size_t i = 0; i < count; ++i) first[i + 1] = first[i] + tasks_[i].count;

  for_each_item(count, threads_, [&](size_t i, size_t) {
    Task& task = tasks_[i];
    std::copy_n(task.ids.get(), task.count, ids + first[i]);
    task.ids.reset();
    // A text that this task only goes on with began in an earlier one.
    for (size_t text = task.text + (task.byte > 0); text < starts_.size(); ++text) {
      const Task& next = tasks_[i + 1];
      if (text > next.text || (text == next.text && next.byte == 0)) break;
      offsets[text] = static_cast<int64_t>(first[i] + starts_[text]);
    }
  });
  offsets[starts_.size()] = static_cast<int64_t>(size_);
}

template class Batch<uint16_t>;
template class Batch<uint32_t>;

}  // namespace snakelm::text
