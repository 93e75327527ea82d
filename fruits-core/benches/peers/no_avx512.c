// Hides AVX-512 and AMX from a program, so that what it chooses by CPUID is AVX2:
//
//     cc -O2 -shared -fPIC -o no_avx512.so no_avx512.c && LD_PRELOAD=./no_avx512.so PROGRAM
//
// Linux lets a process have CPUID fault (arch_prctl(2), ARCH_CPUID); the handler answers in its place.

#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define AVX512_OF_EBX (1u << 16 | 1u << 17 | 1u << 21 | 1u << 28 | 1u << 30 | 1u << 31)
#define AVX512_OF_ECX (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)
#define AVX512_AND_AMX_OF_EDX (1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25)
#define AVX512_BF16_AND_AMX_OF_EAX (1u << 5 | 1u << 21)
#define STATE_OF_AVX512_AND_AMX (0xe0u | 0x60000u)

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0xa2) {
        signal(signal_number, SIG_DFL); // not CPUID: a crash, as it would be
        return;
    }
    unsigned leaf = registers[REG_RAX], subleaf = registers[REG_RCX], a, b, c, d;
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __cpuid_count(leaf, subleaf, a, b, c, d);
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    if (leaf == 7 && subleaf == 0) {
        b &= ~AVX512_OF_EBX;
        c &= ~AVX512_OF_ECX;
        d &= ~AVX512_AND_AMX_OF_EDX;
    } else if (leaf == 7 && subleaf == 1) {
        a &= ~AVX512_BF16_AND_AMX_OF_EAX;
    } else if (leaf == 13 && subleaf == 0) {
        a &= ~STATE_OF_AVX512_AND_AMX;
    }
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) {
        perror("this processor cannot let CPUID fault");
        exit(1);
    }
}
