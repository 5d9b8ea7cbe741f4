// A block of CUDA threads on one CPU thread: a stack of its own for each, which goes on drawn at
// random wherever a thread waits for others; and who has read and written which place of shared
// memory since the last barrier. emulation.h says what it reports.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

// Keeps the callee's registers on the stack that is left, its end in *left; goes on where `to` was
// left.
extern "C" void snakelm_switch_stack(void** left, void* to);
asm(R"(
.text
.globl snakelm_switch_stack
.type snakelm_switch_stack, @function
snakelm_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size snakelm_switch_stack, . - snakelm_switch_stack
)");

namespace snakelm {
namespace emulation {

constexpr int LANES = 32, MOST_THREADS = 1024;
constexpr int UNIT = 2;  // bytes of shared memory that are watched together
constexpr int NOBODY = -1, SEVERAL = -2;

// The accesses to one unit of shared memory in the present interval between barriers.
struct Unit {
  bool written = false;  // ever
  int copier = NOBODY;   // whose asynchronous copy is on its way here
  int writer = NOBODY;   // the last one
  int writer_epoch = -1, writer_warp_epoch = -1;
  uint32_t reading_warps = 0;
  int reader = NOBODY;  // of the warp that read last; or SEVERAL
  int reader_epoch = -1, reader_warp_epoch = -1;
};

struct Copy {
  uint32_t to;
  int bytes;
  uint8_t data[16];
};

struct Thread {
  std::unique_ptr<char[]> stack;
  void* left = nullptr;
  bool done = false;
  std::vector<Copy> copies;
};

// Threads that meet: of a block or of a warp.
struct Meeting {
  const char* name = nullptr;
  std::vector<int> here;
  void* arguments[LANES] = {};
  int epoch = 0;
};

struct Machine {
  std::mt19937_64 random{1};
  std::string error;

  std::function<void()> kernel;
  std::vector<Thread> threads;
  std::vector<int> ready;
  std::vector<uint8_t> shared;
  std::vector<Unit> units;
  Meeting block;
  Meeting warps[MOST_THREADS / LANES];
  int any = 0;  // of __syncthreads_or
  int current = 0;
  void* scheduler = nullptr;

  void report(const std::string& what) {
    if (error.empty()) error = what + " (thread " + std::to_string(current) + ")";
  }

  // ---- threads ----------------------------------------------------------------------------------

  void run_block(int count, int bytes);

  void pause() { snakelm_switch_stack(&threads[static_cast<size_t>(current)].left, scheduler); }

  // The calling thread waits until all of `count` have come; the last one runs `act`.
  template <class Act>
  void meet(Meeting& meeting, int count, const char* name, Act act) {
    if (meeting.here.empty()) meeting.name = name;
    if (meeting.name != name) report(std::string(name) + " meets " + meeting.name);
    meeting.here.push_back(current);
    if (static_cast<int>(meeting.here.size()) == count) {
      act();
      ready.insert(ready.end(), meeting.here.begin(), meeting.here.end());
      meeting.here.clear();
    }
    pause();
  }

  Meeting& warp() { return warps[current / LANES]; }

  template <class Arguments, class Act>
  void meet_warp(const char* name, Arguments& arguments, Act act) {
    Meeting& meeting = warp();
    meeting.arguments[current % LANES] = &arguments;
    meet(meeting, LANES, name, [&] {
      Arguments* all[LANES];
      for (int i = 0; i < LANES; ++i) all[i] = static_cast<Arguments*>(meeting.arguments[i]);
      act(all);
    });
  }

  // ---- shared memory ----------------------------------------------------------------------------

  bool in_bounds(uint32_t address, int bytes) {
    const bool fits = address + static_cast<uint64_t>(bytes) <= shared.size();
    if (!fits) report("shared memory: address " + std::to_string(address) + " is out of bounds");
    if (address % static_cast<uint32_t>(bytes))
      report("shared memory: address " + std::to_string(address) + " is misaligned");
    return fits;
  }

  void race(const char* what, uint32_t address, int other) {
    report(std::string("race: ") + what + " at shared address " + std::to_string(address) +
           (other >= 0 ? ", the other one is thread " + std::to_string(other) : ""));
  }

  // Has the access of `other` in this epoch no barrier before that of `thread`?
  bool unordered(int other, int warp_epoch, int thread) {
    if (other == thread && other >= 0) return false;
    if (other == SEVERAL || thread == SEVERAL || other / LANES == current / LANES)
      return warp_epoch == warp().epoch;
    return true;
  }

  // thread: the current one, or SEVERAL of its warp.
  void check_read(uint32_t address, int bytes, int thread) {
    for (uint32_t at = address; at < address + static_cast<uint32_t>(bytes); at += UNIT) {
      Unit& unit = units[at / UNIT];
      if (!unit.written) report("shared memory: " + std::to_string(at) + " was never written");
      if (unit.copier != NOBODY) race("read before a copy has arrived", at, unit.copier);
      if (unit.writer_epoch == block.epoch && unit.writer != NOBODY &&
          unordered(unit.writer, unit.writer_warp_epoch, thread))
        race("read after write", at, unit.writer);

      const uint32_t mine = 1u << current / LANES;
      if (unit.reader_epoch != block.epoch) unit.reading_warps = 0;
      const bool fresh = unit.reader_epoch != block.epoch || !(unit.reading_warps & mine) ||
                         unit.reader_warp_epoch != warp().epoch;
      unit.reader = fresh || unit.reader == thread ? thread : SEVERAL;
      unit.reading_warps |= mine;
      unit.reader_epoch = block.epoch, unit.reader_warp_epoch = warp().epoch;
    }
  }

  void check_write(uint32_t address, int bytes) {
    const uint32_t mine = 1u << current / LANES;
    for (uint32_t at = address; at < address + static_cast<uint32_t>(bytes); at += UNIT) {
      Unit& unit = units[at / UNIT];
      if (unit.copier != NOBODY) race("write under a copy", at, unit.copier);
      if (unit.writer_epoch == block.epoch && unit.writer != NOBODY &&
          unordered(unit.writer, unit.writer_warp_epoch, current))
        race("write after write", at, unit.writer);
      if (unit.reader_epoch == block.epoch) {
        if (unit.reading_warps & ~mine) race("write after read", at, unit.reader);
        if (unit.reading_warps & mine && unit.reader != current &&
            unit.reader_warp_epoch == warp().epoch)
          race("write after read", at, unit.reader);
      }
      unit.written = true;
      unit.writer = current, unit.writer_epoch = block.epoch, unit.writer_warp_epoch = warp().epoch;
    }
  }

  void start_copy(uint32_t to, const void* from, int bytes, bool valid) {
    if (!in_bounds(to, bytes)) return;
    if (valid && reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(bytes))
      report("copy from a misaligned address");
    check_write(to, bytes);
    for (int i = 0; i < bytes; i += UNIT)
      units[(to + static_cast<uint32_t>(i)) / UNIT].copier = current;
    Copy copy{to, bytes, {}};
    if (valid) std::memcpy(copy.data, from, static_cast<size_t>(bytes));
    threads[current].copies.push_back(copy);
  }

  void finish_copies() {
    for (const Copy& copy : threads[current].copies) {
      for (int i = 0; i < copy.bytes; i += UNIT)
        units[(copy.to + static_cast<uint32_t>(i)) / UNIT].copier = NOBODY;
      check_write(copy.to, copy.bytes);
      std::memcpy(shared.data() + copy.to, copy.data, static_cast<size_t>(copy.bytes));
    }
    threads[current].copies.clear();
  }
};

inline Machine machine;

__attribute__((noinline)) inline void run_thread() {
  machine.kernel();
  Thread& thread = machine.threads[static_cast<size_t>(machine.current)];
  thread.done = true;
  if (!thread.copies.empty()) machine.report("a thread ends before its copies have arrived");
}

// The first thing on a new stack, and never left: it must keep no marks of the address sanitizer.
__attribute__((no_sanitize("address"))) inline void begin_thread() {
  run_thread();
  machine.pause();
  std::abort();
}

inline void Machine::run_block(int count, int bytes) {
  constexpr size_t STACK = 128 << 10;
  shared.assign(static_cast<size_t>(bytes), 0xFF);
  units.assign(static_cast<size_t>(bytes / UNIT), Unit{});
  threads.resize(static_cast<size_t>(count));
  ready.clear();
  block = Meeting{};
  for (Meeting& warp : warps) warp = Meeting{};
  for (int i = 0; i < count; ++i) {
    Thread& thread = threads[i];
    if (!thread.stack) thread.stack.reset(new char[STACK]);
    const uintptr_t end = reinterpret_cast<uintptr_t>(thread.stack.get() + STACK) / 16 * 16;
    void** const top = reinterpret_cast<void**>(end);
    std::fill(top - 8, top, nullptr);  // six registers, then where to go, then no caller
    top[-2] = reinterpret_cast<void*>(begin_thread);
    thread.left = top - 8;
    thread.done = false;
    thread.copies.clear();
    ready.push_back(i);
  }

  while (!ready.empty()) {
    std::swap(ready[random() % ready.size()], ready.back());
    current = ready.back();
    ready.pop_back();
    snakelm_switch_stack(&scheduler, threads[current].left);
  }
  for (current = 0; current < count; ++current)
    if (!threads[current].done) return report("deadlock: a thread waits for ever");
}

}  // namespace emulation
}  // namespace snakelm
