// Threads of a call: PyTorch's own where the caller names them, else of the standard library.
#pragma once
#include <atomic>
#include <thread>
#include <vector>

#include "call.h"

// Calls work(i) for i from 0 to threads − 1. Who does which share decides no result: a runtime that
// gives fewer threads than asked still does them all.
template <class Work>
void in_threads(Parallel parallel, int64_t threads, Work work) {
  if (threads == 1) return work(0);
  struct Shares {
    Work& work;
    int64_t count;
    std::atomic<int64_t> next{0};
    void take() {
      for (int64_t i; (i = next.fetch_add(1)) < count;) work(i);
    }
  } shares{work, threads};
  auto take = [](void* data) { static_cast<Shares*>(data)->take(); };
  if (parallel) return parallel(take, &shares, static_cast<unsigned>(threads), 0);
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(take, &shares);
  take(&shares);
  for (std::thread& other : others) other.join();
}
