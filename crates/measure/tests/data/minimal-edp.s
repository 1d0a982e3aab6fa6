# A minimal enclave for the layout tests: the symbols that the start code of x86_64-fortanix-unknown-sgx exports.
# minimal-edp.elf is made of it with GNU binutils 2.40:
#   as minimal-edp.s -o minimal-edp.o
#   ld -pie --no-dynamic-linker -E -z separate-code -z norelro --hash-style=sysv --eh-frame-hdr --build-id=none \
#     -e sgx_entry -s -o minimal-edp.elf minimal-edp.o
    .section ".note.x86_64-fortanix-unknown-sgx", "", @note
    .align 4
    .long 1f - 0f, 3f - 2f, 1
0:  .asciz "toolchain-version"
1:  .align 4
2:  .long 1
3:  .align 4

    .section .rodata
    .macro slot name, size
    .globl \name
    .protected \name
    .balign \size
    .type \name, @object
    .size \name, \size
\name:
    .skip \size
    .endm
    slot HEAP_BASE, 8
    slot HEAP_SIZE, 8
    slot RELA, 8
    slot RELACOUNT, 8
    slot ENCLAVE_SIZE, 8
    slot CFGDATA_BASE, 8
    slot DEBUG, 1
    slot EH_FRM_HDR_OFFSET, 8
    slot EH_FRM_HDR_LEN, 8
    slot EH_FRM_OFFSET, 8
    slot EH_FRM_LEN, 8
    slot TEXT_BASE, 8
    slot TEXT_SIZE, 8

    .text
    .globl sgx_entry
    .protected sgx_entry
    .type sgx_entry, @function
sgx_entry:
    .cfi_startproc
    lea HEAP_BASE(%rip), %rax
    mov pointer(%rip), %rcx
    ud2
    .cfi_endproc
    .size sgx_entry, . - sgx_entry

    .section .text_no_sgx, "ax", @progbits
    .byte 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11

    .data
pointer:
    .quad sgx_entry
    .quad HEAP_BASE
    .bss
    .skip 9000
