#!/usr/bin/env python3
"""Seeds faults into include/preheat/cuda, into the products of joined layers and into the factorizations that do not wait, and checks that the tests on the double notice them.

Mutants are generated mechanically: every argument of every call of cudart, cuBLAS and cuSOLVER (sizes and leading
dimensions one more and one less, pointers one entry on, transposed operations, other triangles and sides, other
scalars, no stream, no info), the number of indices of every launch, every wait and every check of a status or an info
left out. All of them are compiled into one program; the environment variable PREHEAT_MUTANT picks one when it runs.

    mutate.py BUILD_FOLDER -- COMPILER FLAGS...   compiles and runs; --sample N --seed S takes N of them, drawn by lot
    mutate.py --list                              prints the mutants
    --jobs N                                      compiles and runs N at a time; default one a processor
    --kernels                                     those of the kernels instead: every operator another one, loops
                                                  that begin one later or end one earlier, assignments left out

Fails unless at least 95 % are noticed and survivors.txt beside this file explains every one that is not.
"""
import argparse
import concurrent.futures
import os
import random
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FOLDER = os.path.join(ROOT, 'include', 'preheat', 'cuda')
FILES = ['error.hpp', 'context.hpp', 'matrix.hpp', 'launch.hpp', 'launch_groups.hpp', 'elementwise.hpp', 'factorizations.hpp', 'reduction.hpp', 'columns.hpp', 'send.hpp', 'collected.hpp', 'clip.hpp',
         'block_starts.hpp', 'unwaited.hpp', 'captured_steps.hpp', 'sent_number.hpp', 'backend.hpp', 'mixed_gemm.hpp', 'mixed.hpp', 'adapted_linear.hpp', '../operators/bordered_group.hpp', '../linalg/device_gram_svd.hpp', '../linalg/device_krylov.hpp']
TESTS = ['core/backend.cpp', 'nn/column_operations.cpp', 'cuda/backend.cpp', 'cuda/columns.cpp', 'cuda/adapted_linear.cpp', 'cuda/hot_path.cpp', 'cuda/context.cpp',
         'cuda/joined_layers.cpp', 'cuda/bf16_weights.cpp', 'cuda/svd.cpp', 'cuda/mixed.cpp', 'cuda/captured_steps.cpp']

# Kernels, with mutants of their own: --kernels.
KERNELS = ['column_kernels.hpp', 'decoder_kernels.hpp', 'kernels.hpp', 'chunks.hpp', 'stored_weight.hpp']

CALLS = re.compile(r'\b(cublas<T>::\w+|cusolver<T>::\w+|cublasGemm(?:Batched)?Ex|cublasSet\w+|cusolverDnSet\w+|'
                   r'(?:be|wide_?)\.gemm|cuda(?:Memcpy|Malloc|Free|Stream|Event|Host)\w+|(?:cuda_)?transfer(?:<T>)?|cuda_clone(?:<T>)?|cuda_multiply(?:<T>)?|product|launch|launch_groups|cuda_memory)\(')
# Statements that are left out, one mutant each.
STATEMENTS = re.compile(r'^ *(?:(?:context_?(?:->|\.))?(?:synchronize|require_success)\(.*\);|'
                        r'check\((?:cublasSet|cusolverDnSet)|cuda_clear_below_diagonal(?:<T>)?\(|'
                        r'std::swap\(d\.|take\(be|wide_?\.(?:scale_cols|fill|add_row_dots|cholesky_or_nan|solve_upper|copy)\(|be\.add_to_cols\(|refresh\(\);|store\(|fill\(|'
                        r'(?:detail::)?throw_cuda_error\()')
# Conditions on a status or an info, taken as if nothing had happened.
CONDITIONS = re.compile(r'\b(?:status != \w+|info < 0|(?<!\*)info != 0|context->read_info\("[^"]*"\) (?:> |== )0)')

ENUMERATORS = {
    'CUBLAS_OP_N': 'CUBLAS_OP_T', 'CUBLAS_OP_T': 'CUBLAS_OP_N', 'CUBLAS_FILL_MODE_UPPER': 'CUBLAS_FILL_MODE_LOWER',
    'CUBLAS_SIDE_LEFT': 'CUBLAS_SIDE_RIGHT', 'CUBLAS_DIAG_NON_UNIT': 'CUBLAS_DIAG_UNIT',
    'CUSOLVER_EIG_MODE_VECTOR': 'CUSOLVER_EIG_MODE_NOVECTOR', 'CUSOLVER_EIG_RANGE_I': 'CUSOLVER_EIG_RANGE_ALL', 'CUDA_R_16BF': 'CUDA_R_32F',
    'CUBLAS_COMPUTE_32F': 'CUBLAS_COMPUTE_32F_FAST_TF32', 'cudaMemcpyDeviceToHost': 'cudaMemcpyHostToDevice',
    'cudaMemcpyHostToDevice': 'cudaMemcpyDeviceToHost',
    'cudaMemcpyDeviceToDevice': 'cudaMemcpyHostToDevice', 'transpose::no': 'transpose::yes', 'transpose::yes': 'transpose::no',
    'cudaStreamNonBlocking': 'cudaStreamDefault', "'S'": "'N'",
}
OPERATORS = {'+': '-', '-': '+', '*': '+', '/': '*', '%': '/', '<': '<=', '<=': '<', '>': '<', '>=': '>', '==': '!=', '&&': '||'}
LOOPS = re.compile(r'\bfor \(index_t (\w+) = ([^;]+); ([^;]+) (<=?) ([^;<]+); [^)]*')
# What a statement assigns or returns, and what an if asks.
VALUES = re.compile(r'(?:^ {4,}|\{ )(?:[^\n;{}=()]*(?:\([^\n;{}=]*\))? [-+*/]?= |return |if \()((?:(?!\) \{)[^;{}])+)(?:;|\) \{)', re.M)
ASSIGNMENTS = re.compile(r'^ {4,}((?:write\(|[\w.]+(?:\[[^\]\n]*\]|\([^)\n]*\))? [-+*/]?= )[^;{}]+;)', re.M)
SUPPORT = '''#pragma once
#include <cstdlib>
#include <type_traits>
inline bool preheat_mutant(int number) {
  static const int chosen = std::getenv("PREHEAT_MUTANT") ? std::atoi(std::getenv("PREHEAT_MUTANT")) : -1;
  return number == chosen;
}
template <class T>
inline const std::remove_const_t<T> preheat_other_scalar = 3;
'''


def closing(text, start):
    """The place of the bracket that closes the one at start."""
    depth = 0
    for i in range(start, len(text)):
        depth += text[i] in '([{'
        depth -= text[i] in ')]}'
        if depth == 0:
            return i
    raise ValueError('unbalanced')


def arguments(text, start, end):
    """The pieces between commas, as (start, end)."""
    pieces, depth, begin = [], 0, start
    for i in range(start, end):
        depth += text[i] in '([{'
        depth -= text[i] in ')]}'
        if text[i] == ',' and depth == 0:
            pieces.append((begin, i))
            begin = i + 1
    pieces.append((begin, end))
    return pieces


def changes(call, position, argument):
    """What an argument is replaced with."""
    a = argument
    if call == 'launch':
        return [f'({a}) + 1', f'({a}) - 1'] if position == 1 else []
    if call == 'launch_groups':
        return [f'({a}) + 1', f'({a}) - 1'] if position == 2 else []
    if call.startswith('cuda_multiply'):
        return ['preheat_other_scalar<T>'] if position == 1 else []
    if call.endswith('.gemm') and a in ('0', '1', 's', '-1'):
        return {'0': ['1'], '1': ['2', '0'], 's': ['1', '-s'], '-1': ['1']}[a]
    if call == 'product' and a in ('0', '1'):
        return [f'{a} + 1']
    if a in ENUMERATORS:
        return [ENUMERATORS[a]]
    if re.fullmatch(r'(detail::)?operation\(\w+\)', a):
        return [f'({a} == CUBLAS_OP_N ? CUBLAS_OP_T : CUBLAS_OP_N)']
    if re.fullmatch(r'&(alpha|beta|one|zero)', a):
        return [f'&preheat_other_scalar<decltype({a[1:]})>']
    if re.fullmatch(r'(detail::)?library_int\(.*\)|m|n|terms|first|rank|ld|lda|ldc|ldu|ldv|size|bytes|sizeof\(int\)|std::size_t\(.*', a, re.S):
        return [f'({a}) + 1', f'({a}) - 1']
    if re.search(r'stream(_|\(\))?$', a) and 'address' not in a:
        return ['cudaStream_t(nullptr)']
    if a == 'context->info()':
        return ['static_cast<int*>(nullptr)']
    if re.fullmatch(r'\w+\.data\(\)', a) and a not in ('info_.data()', 'workspace_.data()'):
        return [f'{a} + 1']
    return []


def mutants_of(name, text):
    """(start, end, how to write it, words) of each place, with all its changes."""
    places = []
    for found in CALLS.finditer(text):
        call, start = found.group(1), found.end() - 1
        before = text[text.rfind('\n', 0, found.start()) + 1:found.start()]
        if before.lstrip().startswith(('//', 'void', 'explicit')) or re.search(r'[~"]$|#', before):
            continue
        for position, (a, b) in enumerate(arguments(text, start + 1, closing(text, start))):
            stripped = text[a:b].strip()
            if call == 'cuda_memory' and not re.search(r'bytes|sizeof|stream', stripped):
                continue
            if re.match(r'(void\*|cudaStream_t |std::size_t \w|cuda_memory|const )', stripped):
                continue  # a declaration
            new = changes(call, position, stripped)
            if new:
                lead = a + text[a:b].index(stripped[0])
                places.append((lead, lead + len(stripped), 'choice', stripped, new, call))
    for found in re.finditer(r'^.*$', text, re.M):
        line = found.group(0)
        if STATEMENTS.match(line) and not line.lstrip().startswith('//'):
            start = found.start() + len(line) - len(line.lstrip())
            end = text.index(';', start) + 1
            if re.match(r'synchronize\(\) const|require_success\(const', text[start:end]):
                continue
            places.append((start, end, 'statement', ' '.join(text[start:end].split()), [''], 'left out'))
    for found in CONDITIONS.finditer(text):
        new = 'true' if '== 0' in found.group(0) else 'false'
        places.append((found.start(), found.end(), 'choice', found.group(0), [new], 'taken as'))
    return places


def kernel_mutants_of(text):
    """The same of the kernels of a file."""
    begin = re.search(r'^namespace (preheat::)?cuda_kernels \{', text, re.M).end()
    end = text.index('}  // namespace', begin)
    places = []
    for found in LOOPS.finditer(text, begin, end):
        places.append((*found.span(2), 'choice', found.group(0), [f'({found.group(2)}) + 1'], 'loop begins'))
        places.append((*found.span(5), 'choice', found.group(0), [f'({found.group(5)}) - 1'], 'loop ends'))
    for found in VALUES.finditer(text, begin, end):
        value = found.group(1)
        if 'constexpr' in found.group(0):
            continue
        changed = [value[:at.start(1)] + OPERATORS[at.group(1)] + value[at.end(1):]
                   for at in re.finditer(r'(?<= )([-+*/%]|[<>]=?|==|&&)(?=\s)', value)]
        if changed:
            places.append((*found.span(1), 'choice', value, changed, 'value'))
    for found in ASSIGNMENTS.finditer(text, begin, end):
        places.append((*found.span(1), 'statement', found.group(1), [''], 'left out'))
    return places


def generate(kernels=False):
    """The mutated files, and the mutants: words that name each, in the order of their numbers."""
    mutants, files, counts = [], {}, {}
    for name in KERNELS if kernels else FILES:
        text = open(os.path.join(FOLDER, name), encoding='utf-8').read()
        # Inner places are written first, so that outer ones contain them.
        pieces = sorted(kernel_mutants_of(text) if kernels else mutants_of(name, text), key=lambda p: (-p[0], p[1]))
        numbered = []
        for place in sorted(pieces, key=lambda p: (p[0], -p[1])):
            numbers = []
            for change in place[4]:
                shown = ' '.join(place[3].split())
                words = f'{name}: {place[5]}: {shown} -> {" ".join(change.split()) or "nothing"}'
                counts[words] = counts.get(words, 0) + 1
                numbers.append(len(mutants))
                mutants.append(words + (f' #{counts[words]}' if counts[words] > 1 else ''))
            numbered.append((place, numbers))
        inserts = {}  # at a position: what to write before it
        for (start, end, kind, _, new, _), numbers in numbered:
            if kind == 'statement':
                head, tail = f'if (!preheat_mutant({numbers[0]})) {{ ', ' }'
            else:
                head = '(' + ''.join(f'preheat_mutant({k}) ? {c} : ' for k, c in zip(numbers, new)) + '('
                tail = '))'
            inserts.setdefault(start, []).append((0, end - start, head))
            inserts.setdefault(end, []).append((1, end - start, tail))
        out, last = [], 0
        for at in sorted(inserts):
            out.append(text[last:at])
            tails = sorted((i for i in inserts[at] if i[0] == 1), key=lambda i: i[1])
            heads = sorted((i for i in inserts[at] if i[0] == 0), key=lambda i: -i[1])
            out += [i[2] for i in tails + heads]
            last = at
        out.append(text[last:])
        files[name] = ''.join(out).replace('#pragma once\n', '#pragma once\n#include "../cuda/mutant_support.hpp"\n', 1)
    return files, mutants


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--kernels', action='store_true')
    parser.add_argument('--sample', type=int, default=0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--only', type=int, action='append')
    parser.add_argument('folder', nargs='?')
    parser.add_argument('compiler', nargs=argparse.REMAINDER)
    options = parser.parse_args()
    files, mutants = generate(options.kernels)
    if options.list:
        print('\n'.join(f'{k} {words}' for k, words in enumerate(mutants)))
        return 0

    include = os.path.join(options.folder, 'include')
    shutil.rmtree(include, ignore_errors=True)
    shutil.copytree(os.path.join(ROOT, 'include'), include)
    for name, text in files.items():
        open(os.path.join(include, 'preheat', 'cuda', name), 'w', encoding='utf-8').write(text)
    open(os.path.join(include, 'preheat', 'cuda', 'mutant_support.hpp'), 'w', encoding='utf-8').write(SUPPORT)
    program = os.path.join(options.folder, 'mutants')
    compiler, *flags = options.compiler[1:] if options.compiler[0] == '--' else options.compiler
    at_once = concurrent.futures.ThreadPoolExecutor(options.jobs)
    compile_flags = [f for f in flags if not f.startswith('-l') and not f.endswith(('.a', '.o', '.so'))]

    def compiled(test):
        result = os.path.join(options.folder, test.replace('/', '_') + '.o')
        subprocess.run([compiler, f'-I{include}', '-c', os.path.join(ROOT, 'tests', test), '-o', result, *compile_flags], check=True)
        return result

    objects = list(at_once.map(compiled, TESTS))
    subprocess.run([compiler, *objects, *flags, '-o', program], check=True)

    def fails(number, schedule):
        environment = dict(os.environ, PREHEAT_MUTANT=str(number), PREHEAT_CUDA_SCHEDULE=schedule, OPENBLAS_NUM_THREADS='1')
        try:
            return subprocess.run([program, '--abort-after=1'], env=environment, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=180).returncode != 0
        except subprocess.TimeoutExpired:
            return True

    if fails(-1, 'eager') or fails(-1, 'lazy'):
        sys.exit('the tests fail without a mutant')
    chosen = options.only or list(range(len(mutants)))
    if options.sample:
        chosen = sorted(random.Random(options.seed).sample(chosen, options.sample))
    explained = [line.strip() for line in open(os.path.join(HERE, 'survivors.txt'), encoding='utf-8')]
    killed = unexplained = 0
    for done, (k, noticed) in enumerate(zip(chosen, at_once.map(lambda k: fails(k, 'eager') or fails(k, 'lazy'), chosen)), 1):
        killed += noticed
        if not noticed:
            known = mutants[k] in explained
            unexplained += not known
            print(f'survived{"" if known else ", unexplained"}: {k} {mutants[k]}', flush=True)
        if sys.stderr.isatty():
            print(f'\r{done} of {len(chosen)}', end='\n' if done == len(chosen) else '', file=sys.stderr, flush=True)
    print(f'{killed} of {len(chosen)} mutants noticed ({100 * killed / len(chosen):.1f} %)')
    enough = options.sample or options.only or killed >= 0.95 * len(chosen)
    return 0 if enough and not unexplained else 1


if __name__ == '__main__':
    sys.exit(main())
