// Shadow memory: for each piece of memory a cell that remembers who accessed it.
//
// A region's cells are as large as its accesses allow: 16 bytes each if a kernel moves packs of 16 bytes only, and split when
// a smaller access comes. What a cell says holds for all of its bytes, so that its parts say the same.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace machine {

// Accesses of one kind to one piece of memory, none of which came before another.
struct Accesses {
  uint32_t interval;  // of the latest
  uint32_t joins;     // of the warp, before the earliest of them
  uint32_t lanes;     // who, of one warp
  uint32_t address;   // lower half of the latest one's return address
  uint8_t warp;
  bool several_warps, several_blocks;
  bool is_exchange;  // of writes: by an atomic exchange, which other atomic operations may meet
};

struct Cell {
  Accesses write, read;
};

constexpr int MOST_SHIFT = 4;  // 16 bytes, the longest access

// Memory that the kernel may touch.
struct Region {
  uintptr_t begin, end;
  int number;   // for the report; several memories that overlap are one region
  int element;  // bytes
  bool is_writable, is_written, is_shared;
  bool has_cells;   // false where nothing can go wrong but the place: memory with values that nobody may write to
  bool is_touched;  // whether a cell is in use
  int shift;        // a cell stands for 1 << shift bytes
  uint32_t oldest;  // the first interval whose accesses count
  std::vector<Cell> cells;
  std::vector<Accesses> atomics;  // as many as cells, from the first atomic operation on

  size_t cell_of(uintptr_t address) const { return (address >> shift) - (begin >> shift); }

  // Before an access of 1 << length_shift bytes.
  void touch(int length_shift) {
    if (length_shift < shift) split(length_shift);
    if (is_touched) return;
    const size_t count = cell_of(end - 1) + 1;
    if (cells.size() < count) cells.resize(count);
    atomics.clear();
    is_touched = true;
  }

 private:
  void split(int new_shift) {
    if (is_touched) {
      split(cells, new_shift);
      if (!atomics.empty()) split(atomics, new_shift);
    }
    shift = new_shift;
  }

  template <typename T>
  void split(std::vector<T>& whole, int new_shift) const {
    const uintptr_t first = begin >> new_shift;
    std::vector<T> parts(((end - 1) >> new_shift) - first + 1);
    for (size_t i = 0; i < parts.size(); i++) parts[i] = whole[((first + i) >> (shift - new_shift)) - (begin >> shift)];
    whole.swap(parts);
  }
};

}  // namespace machine
