// The collective operations of a simdgroup: numbers shared by the shim <metal_stdlib> (C++ for OpenCL) and the emulator (C).
// An operation code is one of these, plus the type of its operand.
#ifndef QN_EMULATOR_OPERATIONS_H
#define QN_EMULATOR_OPERATIONS_H

enum qn_emulator_operation {
    QN_EMULATOR_SUM,
    QN_EMULATOR_MAX,
    QN_EMULATOR_MIN,
    QN_EMULATOR_AND,
    QN_EMULATOR_OR,
    QN_EMULATOR_XOR,
    QN_EMULATOR_PREFIX_EXCLUSIVE,
    QN_EMULATOR_PREFIX_INCLUSIVE,
    QN_EMULATOR_SHUFFLE,
    QN_EMULATOR_SHUFFLE_XOR,
    QN_EMULATOR_SHUFFLE_DOWN,
    QN_EMULATOR_SHUFFLE_UP,
    QN_EMULATOR_BROADCAST,
    QN_EMULATOR_BALLOT,
    QN_EMULATOR_UNIFORM, // nothing but a check: arg is the same in every lane
    QN_EMULATOR_MATRIX,  // d = a b + c of 8x8 matrices
    QN_EMULATOR_N_OPERATIONS,
    QN_EMULATOR_OPERATION_MASK = 255,
    QN_EMULATOR_FLOAT = 256,
    QN_EMULATOR_UINT = 512,
    QN_EMULATOR_INT = 1024,
};

#endif
