// Work of starting and resizing adapters: PiSSA of a weight, the truncated SVD of B·A, a whole model of those.
#pragma once
#include <atomic>
#include <thread>

#include "work.hpp"

namespace peers {

// Factors of the main part of W, and W without them. Every run has a seed of its own.
class pissa_start : public work {
 public:
  pissa_start(backend_type& be, const inputs& given)
      : be_(be),
        original_(given.weight("W")),
        W_(clone<backend_type>(be, original_)),
        rank_(given.whole("rank")),
        scaling_(given.number("scaling")) {}

  void reset() override { be_.copy(transpose::no, original_, W_); }
  void run() override {
    const target_layer<backend_type> place{
        .W = W_, .rank = rank_, .scaling = scaling_, .gen = generator(++runs_)};
    factors_ = init::pissa_krylov{}(be_, place);
    be_.gemm(-scaling_, transpose::no, factors_.B, transpose::no, factors_.A, 1, W_);
  }
  void save(outputs& to) override {
    to.weight("A", factors_.A);
    to.weight("B", factors_.B);
  }

 private:
  backend_type& be_;
  matrix original_, W_;
  index_t rank_;
  float scaling_;
  std::uint64_t runs_ = 0;
  factors<backend_type> factors_;
};

// What HRP takes from its preheated factors: the first singular triplets of their product.
class extraction : public work {
 public:
  extraction(backend_type& be, const inputs& given)
      : be_(be), B_(given.weight("B")), A_(given.weight("A")), rank_(given.whole("rank")) {}

  void run() override {
    triplets_ = linalg::factored_svd<backend_type>(be_, B_, A_, rank_, generator(1));
  }
  void save(outputs& to) override {
    to.weight("U", triplets_.U);
    to.weight("S", triplets_.S);
    to.weight("V", triplets_.V);
  }

 private:
  backend_type& be_;
  matrix B_, A_;
  index_t rank_;
  svd_result<matrix> triplets_;
};

// The adapter of a Llama of 7 billion parameters, R = 128 → 16: seven modules in each of 32 layers, all in memory.
// Modules are shared out among the threads, each with a backend of one thread.
class llama_extraction : public work {
 public:
  llama_extraction(backend_type& be, index_t layers, index_t threads) : threads_(threads) {
    constexpr index_t d = 4096;
    constexpr index_t wide = 11008;
    constexpr std::pair<index_t, index_t> shapes[] = {{d, d},    {d, d},    {d, d},   {d, d},
                                                      {wide, d}, {wide, d}, {d, wide}};
    for (index_t l = 0; l < layers; ++l) {
      for (const auto& [out, in] : shapes) {
        const generator gen = generator(1).fork(purpose::base, modules_.size());
        modules_.push_back({linalg::uniform(be, rank_before, in, 1, gen.fork(purpose::base, 0)),
                            linalg::uniform(be, out, rank_before, 1, gen.fork(purpose::base, 1))});
      }
    }
    resized_.resize(modules_.size());
  }

  void run() override {
    std::atomic<std::size_t> next = 0;
    const auto take = [&] {
      for (std::size_t i = next++; i < modules_.size(); i = next++) {
        backend_type be;
        resized_[i] = linalg::factored_svd<backend_type>(be, modules_[i].B, modules_[i].A,
                                                         rank_after, generator(i));
      }
    };
    std::vector<std::thread> helpers;
    for (index_t t = 1; t < threads_; ++t) {
      helpers.emplace_back(take);
    }
    take();
    for (std::thread& helper : helpers) {
      helper.join();
    }
  }
  void save(outputs& to) override {
    double bytes = 0;
    for (const auto& module : modules_) {
      bytes += double(sizeof(float)) * (double(module.A.rows() * module.A.cols()) +
                                        double(module.B.rows() * module.B.cols()));
    }
    to.number("adapter_bytes", bytes);
    to.number("modules", double(modules_.size()));
    to.weight("B", modules_.back().B);
    to.weight("A", modules_.back().A);
    to.weight("U", resized_.back().U);
    to.weight("S", resized_.back().S);
    to.weight("V", resized_.back().V);
  }

 private:
  static constexpr index_t rank_before = 128;
  static constexpr index_t rank_after = 16;

  index_t threads_;
  std::vector<factors<backend_type>> modules_;
  std::vector<svd_result<matrix>> resized_;
};

}  // namespace peers
