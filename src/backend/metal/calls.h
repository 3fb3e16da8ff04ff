// Every message that this folder sends: one row a selector, typed as Apple's headers declare it. tools/metal/selectors.txt lists
// the same ones with their encodings and where each was looked up; tests/metal compares the two.
#ifndef QN_BACKEND_METAL_CALLS_H
#define QN_BACKEND_METAL_CALLS_H
#include "backend/metal/objc.h"

// Values of Metal's enumerations.
enum {
    QN_METAL_STORAGE_SHARED = 0,      // MTLResourceStorageModeShared
    QN_METAL_DISPATCH_CONCURRENT = 1, // MTLDispatchTypeConcurrent
    QN_METAL_SCOPE_BUFFERS = 1,       // MTLBarrierScopeBuffers
    QN_METAL_MATH_SAFE = 0,           // MTLMathModeSafe
    QN_METAL_MATH_PRECISE = 1,        // MTLMathFloatingPointFunctionsPrecise
    QN_METAL_FAMILY_APPLE7 = 1007,    // MTLGPUFamilyApple7: M1, the first with simd_sum
    QN_METAL_STATUS_COMPLETED = 4,    // MTLCommandBufferStatus…
    QN_METAL_STATUS_ERROR = 5,
};

// clang-format off
// NSObject; NSString; NSError
CALL0(qn_metal_id, qn_metal_new, "new")
CALL0(qn_metal_id, qn_metal_retain, "retain")
CALL0(void, qn_metal_release, "release")
CALL1(bool, qn_metal_responds, "respondsToSelector:", qn_metal_selector)
CALL1(qn_metal_id, qn_metal_string, "stringWithUTF8String:", const char *)
CALL0(const char *, qn_metal_string_text, "UTF8String")
CALL0(qn_metal_id, qn_metal_error_description, "localizedDescription")
CALL0(long, qn_metal_error_code, "code")
// MTLDevice
CALL0(qn_metal_id, qn_metal_device_name, "name")
CALL1(bool, qn_metal_device_supports_family, "supportsFamily:", long)
CALL0(bool, qn_metal_device_unified, "hasUnifiedMemory")
CALL0(unsigned long, qn_metal_device_max_buffer, "maxBufferLength")
CALL0(unsigned long, qn_metal_device_max_working_set, "recommendedMaxWorkingSetSize")
CALL0(unsigned long, qn_metal_device_max_threadgroup, "maxThreadgroupMemoryLength")
CALL0(qn_metal_id, qn_metal_device_queue, "newCommandQueue")
CALL2(qn_metal_id, qn_metal_device_buffer, "newBufferWithLength:options:", unsigned long, unsigned long)
CALL4(qn_metal_id, qn_metal_device_wrap, "newBufferWithBytesNoCopy:length:options:deallocator:", void *, unsigned long, unsigned long, qn_metal_block)
CALL3(qn_metal_id, qn_metal_device_library, "newLibraryWithSource:options:error:", qn_metal_id, qn_metal_id, qn_metal_id *)
CALL2(qn_metal_id, qn_metal_device_pipeline, "newComputePipelineStateWithFunction:error:", qn_metal_id, qn_metal_id *)
CALL2(qn_metal_id, qn_metal_device_residency, "newResidencySetWithDescriptor:error:", qn_metal_id, qn_metal_id *)
// MTLCompileOptions; MTLLibrary; MTLComputePipelineState
CALL1(void, qn_metal_options_math_mode, "setMathMode:", long)
CALL1(void, qn_metal_options_functions, "setMathFloatingPointFunctions:", long)
CALL1(void, qn_metal_options_fast_math, "setFastMathEnabled:", bool)
CALL1(qn_metal_id, qn_metal_library_function, "newFunctionWithName:", qn_metal_id)
CALL0(unsigned long, qn_metal_pipeline_max_threads, "maxTotalThreadsPerThreadgroup")
CALL0(unsigned long, qn_metal_pipeline_simd_width, "threadExecutionWidth")
CALL0(unsigned long, qn_metal_pipeline_shared_bytes, "staticThreadgroupMemoryLength")
// MTLBuffer; MTLResidencySet
CALL0(void *, qn_metal_buffer_contents, "contents")
CALL1(void, qn_metal_residency_add, "addAllocation:", qn_metal_id)
CALL1(void, qn_metal_residency_remove, "removeAllocation:", qn_metal_id)
CALL0(void, qn_metal_commit, "commit") // a residency set's changes; a command buffer
CALL0(void, qn_metal_residency_request, "requestResidency")
CALL0(void, qn_metal_residency_end, "endResidency")
// MTLCommandQueue; MTLCommandBuffer
CALL1(void, qn_metal_queue_add_residency, "addResidencySet:", qn_metal_id)
CALL1(void, qn_metal_queue_remove_residency, "removeResidencySet:", qn_metal_id)
CALL0(qn_metal_id, qn_metal_queue_buffer, "commandBufferWithUnretainedReferences")
CALL1(qn_metal_id, qn_metal_command_encoder, "computeCommandEncoderWithDispatchType:", unsigned long)
CALL0(unsigned long, qn_metal_command_status, "status")
CALL0(qn_metal_id, qn_metal_command_error, "error")
// MTLComputeCommandEncoder
CALL1(void, qn_metal_encode_pipeline, "setComputePipelineState:", qn_metal_id)
CALL3(void, qn_metal_encode_buffer, "setBuffer:offset:atIndex:", qn_metal_id, unsigned long, unsigned long)
CALL2(void, qn_metal_encode_offset, "setBufferOffset:atIndex:", unsigned long, unsigned long)
CALL3(void, qn_metal_encode_bytes, "setBytes:length:atIndex:", const void *, unsigned long, unsigned long)
CALL2(void, qn_metal_encode_dispatch, "dispatchThreadgroups:threadsPerThreadgroup:", qn_metal_size, qn_metal_size)
CALL1(void, qn_metal_encode_barrier, "memoryBarrierWithScope:", unsigned long)
CALL0(void, qn_metal_encode_end, "endEncoding")
// clang-format on

#endif
