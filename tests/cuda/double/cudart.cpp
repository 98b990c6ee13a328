// The symbols of cudart. The real header is included: a wrong signature does not compile.
#include <cuda_runtime_api.h>

#include <cstring>
#include <memory>
#include <preheat/core/types.hpp>
#include <utility>

#include "machine.hpp"

using namespace cuda_double;

namespace {
constexpr codes<cudaError_t> usual{cudaErrorMemoryAllocation, cudaErrorInvalidValue,
                                   cudaErrorIllegalAddress};
}

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = machine::get().now.devices;
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  return call("cudaRuntimeGetVersion", usual, [&] { *version = CUDART_VERSION; });
}
const char* cudaGetErrorName(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation"
         : e == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress"
                                        : "a CUDA error";
}
const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorNoDevice ? "no CUDA-capable device is detected" : cudaGetErrorName(e);
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned flags) {
  return call("cudaStreamCreateWithFlags", usual, [&] {
    // Other streams must not wait for this one, nor it for them.
    expect(flags == cudaStreamNonBlocking, "the stream is not non-blocking");
    auto* x = new stream;
    machine::get().streams.insert(x);
    *s = reinterpret_cast<cudaStream_t>(x);
  });
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  return release_call("cudaStreamDestroy", usual, [&] {
    machine& m = machine::get();
    stream& x = m.find_stream(s);
    expect(&x != &m.default_stream, "the default stream is not destroyed");
    m.run(x);
    m.streams.erase(&x);
    delete &x;
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  const auto run = [&] {
    machine& m = machine::get();
    expect(m.find_stream(s).captured == nullptr, "the host waits for a stream that captures");
    m.run(m.find_stream(s));
    if (m.broken) {
      throw refusal{usual.broken};
    }
  };
  const cudaError_t status = call("cudaStreamSynchronize", usual, run);
  if (status == usual.ordered) {  // what was copied to or from the host is over in any case
    machine::get().run(machine::get().find_stream(s));
  }
  return status;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  return call("cudaEventCreateWithFlags", usual, [&] {
    auto made = std::make_shared<event>();
    *e = reinterpret_cast<cudaEvent_t>(made.get());
    machine::get().events[*e] = std::move(made);
  });
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  return release_call("cudaEventDestroy", usual,
                      [&] { expect(machine::get().events.erase(e) == 1, "no such event"); });
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  return call("cudaEventRecord", usual, [&] {
    machine& m = machine::get();
    expect(m.events.count(e) == 1, "no such event");
    const std::shared_ptr<event> x = m.events[e];
    x->of = &m.find_stream(s);
    const long moment = ++x->recorded;
    m.enqueue(*x->of, [x, moment] { x->reached = moment; });
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  return call("cudaStreamWaitEvent", usual, [&] {
    machine& m = machine::get();
    expect(m.events.count(e) == 1, "no such event");
    const std::shared_ptr<event> x = m.events[e];
    m.enqueue(m.find_stream(s),
              [x, moment = x->recorded] { machine::get().run_until(*x, moment); });
  });
}
// Runs the event's stream as far as the event, and not further.
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  return call("cudaEventSynchronize", usual, [&] {
    machine& m = machine::get();
    expect(m.events.count(e) == 1, "no such event");
    const std::shared_ptr<event> x = m.events[e];
    expect(x->of == nullptr || m.streams.count(x->of) == 0 || x->of->captured == nullptr,
           "the host waits for a stream that captures");
    m.run_until(*x, x->recorded);
    if (m.broken) {
      throw refusal{usual.broken};
    }
  });
}

// A graph is the pieces of work that a stream was given while it captured, with their arguments of then. Each piece
// looks anew whether its memory is still there when it runs.
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode) {
  return call("cudaStreamBeginCapture", usual, [&] {
    machine& m = machine::get();
    stream& x = m.find_stream(s);
    expect(&x != &m.default_stream, "the default stream cannot be captured");
    expect(mode == cudaStreamCaptureModeThreadLocal, "other threads would be disturbed");
    expect(x.captured == nullptr, "the stream captures already");
    x.captured = std::make_shared<pieces_of_work>();
  });
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph) {
  std::shared_ptr<pieces_of_work> made;  // an ordered failure ends the capture, too
  const auto end = [&] {
    stream& x = machine::get().find_stream(s);
    expect(x.captured != nullptr, "the stream does not capture");
    made = std::exchange(x.captured, nullptr);
  };
  const cudaError_t status = call("cudaStreamEndCapture", usual, end);
  if (made == nullptr) {
    machine::get().find_stream(s).captured = nullptr;
    return status;
  }
  auto* const handle = new char;  // a graph and what is made of it are different objects
  machine::get().graphs[handle] = made;
  *graph = reinterpret_cast<cudaGraph_t>(handle);
  return status;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t graph,
                                          unsigned long long flags) {
  return call("cudaGraphInstantiateWithFlags", usual, [&] {
    machine& m = machine::get();
    expect(m.graphs.count(graph) == 1, "there is no such graph");
    expect(flags == 0, "the flags are not known to the double");
    auto* const handle = new char;
    m.graphs[handle] = m.graphs[graph];
    *made = reinterpret_cast<cudaGraphExec_t>(handle);
  });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t s) {
  return call("cudaGraphLaunch", usual, [&] {
    machine& m = machine::get();
    expect(m.graphs.count(graph) == 1, "there is no such graph");
    stream& x = m.find_stream(s);
    expect(x.captured == nullptr, "a graph is launched while the stream captures");
    for (const auto& piece : *m.graphs[graph]) {
      m.enqueue(x, piece);
    }
  });
}
static cudaError_t destroy_graph(const char* name, const void* graph) {
  return release_call(name, usual, [&] {
    expect(machine::get().graphs.erase(graph) == 1, "there is no such graph");
    delete static_cast<const char*>(graph);
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return destroy_graph("cudaGraphDestroy", graph);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  return destroy_graph("cudaGraphExecDestroy", graph);
}

cudaError_t cudaSetDevice(int device) {
  return call("cudaSetDevice", usual, [&] {
    expect(0 <= device && device < machine::get().now.devices, "there is no such device");
  });
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* all) {
  return call("cudaMemGetInfo", usual, [&] {
    *all = machine::get().now.memory;
    *free = *all - machine::get().bytes_alive;
  });
}

// One pool, of device 0, of which the memory that it keeps can be set, and the memory that it has be asked for.
cudaError_t cudaGetDevice(int* device) {
  return call("cudaGetDevice", usual, [&] { *device = 0; });
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  return call("cudaDeviceGetDefaultMemPool", usual, [&] {
    expect(device == 0, "there is no such device");
    *pool = reinterpret_cast<cudaMemPool_t>(&machine::get());
  });
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr what, void* value) {
  return call("cudaMemPoolSetAttribute", usual, [&] {
    expect(pool == reinterpret_cast<cudaMemPool_t>(&machine::get()), "there is no such pool");
    expect(what == cudaMemPoolAttrReleaseThreshold || what == cudaMemPoolAttrUsedMemHigh,
           "the attribute is not known to the double");
    const bool high = what == cudaMemPoolAttrUsedMemHigh;
    expect(*static_cast<std::uint64_t*>(value) == (high ? 0 : UINT64_MAX),
           high ? "a peak begins at 0" : "the pool gives memory back");
  });
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t) {
  return call("cudaMemPoolTrimTo", usual, [&] {
    expect(pool == reinterpret_cast<cudaMemPool_t>(&machine::get()), "there is no such pool");
  });
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr what, void* value) {
  return call("cudaMemPoolGetAttribute", usual, [&] {
    expect(pool == reinterpret_cast<cudaMemPool_t>(&machine::get()), "there is no such pool");
    expect(what == cudaMemPoolAttrReservedMemCurrent || what == cudaMemPoolAttrUsedMemHigh,
           "the attribute is not known to the double");
    *static_cast<std::uint64_t*>(value) = machine::get().bytes_alive;
  });
}

cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t s) {
  return call("cudaMallocAsync", usual, [&] {
    machine& m = machine::get();
    *p = m.allocate(bytes, m.find_stream(s));
  });
}
cudaError_t cudaFreeAsync(void* p, cudaStream_t s) {
  return release_call("cudaFreeAsync", usual, [&] {
    machine& m = machine::get();
    m.release(p, m.find_stream(s));
  });
}

cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned flags) {
  return call("cudaHostAlloc", usual, [&] {
    expect(flags == cudaHostAllocDefault, "the flags are not known to the double");
    auto made = std::make_unique<char[]>(bytes);
    *p = made.get();
    machine::get().pinned[*p] = std::move(made);
  });
}
cudaError_t cudaFreeHost(void* p) {
  return release_call("cudaFreeHost", usual, [&] {
    expect(machine::get().pinned.erase(p) == 1, "this is no start of pinned memory");
  });
}

// Copies run when the stream does, also to and from pageable memory of the host.
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t s) {
  return call("cudaMemcpy2DAsync", usual, [&] {
    machine& m = machine::get();
    stream& x = m.find_stream(s);
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    expect(m.is_device(to) == to_device && m.is_device(from) == from_device,
           "the kind of copy does not fit the pointers");
    expect(x.captured == nullptr || (to_device && from_device),
           "a graph would copy from or to memory of the host that may be gone");
    expect(to_pitch >= width && from_pitch >= width, "a pitch is smaller than the width");
    if (width == 0 || height == 0) {
      return;
    }
    const std::size_t to_bytes = to_pitch * (height - 1) + width;
    const std::size_t from_bytes = from_pitch * (height - 1) + width;
    const auto reach_to = [=] {
      return static_cast<char*>(to_device ? machine::get().reach(to, to_bytes, "the target") : to);
    };
    const auto reach_from = [=] {
      return static_cast<const char*>(
          from_device ? machine::get().reach(from, from_bytes, "the source") : from);
    };
    char* const target = reach_to();
    reach_from();
    if (!to_device) {
      for (size_t j = 0; j < height; ++j) {
        spoil(target + j * to_pitch, width);  // nobody may look before the copy has run
      }
    }
    const bool to_pinned = m.pinned.count(to) == 1;
    m.enqueue(x, [=] {
      expect(!to_pinned || machine::get().pinned.count(to) == 1, "the pinned target was freed");
      char* const a = reach_to();
      const char* const b = reach_from();
      for (size_t j = 0; j < height; ++j) {
        std::memmove(a + j * to_pitch, b + j * from_pitch, width);
      }
    });
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, s);
}

cudaError_t preheat_compile_this_file_with_nvcc_to_use_a_gpu(
    preheat::index_t n, const void* f, std::size_t size_of_f,
    void (*run)(const void*, preheat::index_t), cudaStream_t s) {
  return call("kernel", usual, [&] {
    machine& m = machine::get();
    stream& x = m.find_stream(s);
    const auto* bytes = static_cast<const char*>(f);
    const std::vector<char> functor(bytes, bytes + size_of_f);
    m.enqueue(x, [=] {
      machine::get().run_kernel(functor, [&] {
        for (preheat::index_t k = n; k-- > 0;) {
          run(functor.data(), k);
        }
      });
    });
  });
}

}  // extern "C"
