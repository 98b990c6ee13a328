#!/usr/bin/perl
# Prints the library of include/preheat/preheat.hpp as one header, for programs of one file:
#
#   perl cmake/single_header.pl include/preheat >preheat_all.hpp
#
# Every header comes once, after those that it includes. A header that only a system's BLAS needs stays between its #if
# and #endif, but what it includes comes before them, because others may need it. The compiled part is left out.
use strict;
use warnings;
use Cwd 'realpath';

my $root = $ARGV[0] // die "usage: single_header.pl FOLDER\n";
my %seen;

sub lines_of {
  open my $in, '<', $_[0] or die "$_[0]: $!\n";
  return <$in>;
}

# The path of an include of one of our headers, else nothing.
sub included {
  my ($path, $line) = @_;
  my ($header) = $line =~ /^#include "([^"]+)"/ or return;
  my ($folder) = $path =~ m|(.*)/|;
  return realpath("$folder/$header") // die "$path: no header $header\n";
}

# The text of a header after what it includes, or only that.
sub text_of {
  my ($path, $only_included) = @_;
  my $text = '';
  if (!$only_included) {
    return '' if $seen{$path}++;
    (my $name = $path) =~ s|^\Q@{[realpath($root)]}\E/||;
    $text = "\n// ---- preheat/$name\n";
  }
  my ($before, $block, $depth, $dropped) = ('', '', 0, 0);
  for my $line (lines_of($path)) {
    next if $line =~ /^#pragma once/;
    if ($line =~ /^#if/) {
      $depth++;
      if ($line =~ /defined\(PREHEAT_KERNELS\)/) {
        $dropped = $depth * ($line =~ /!defined/ ? -1 : 1);  # below 0: the content stays
        next;
      }
    }
    if ($line =~ /^#endif/) {
      $depth--;
      if (abs($dropped) == $depth + 1) {
        $dropped = 0;
        next;
      }
    }
    if ($line =~ /^#else/ && abs($dropped) == $depth && $depth > 0) {
      $dropped = -$dropped;
      next;
    }
    next if $dropped > 0;
    my $header = included($path, $line);
    my $conditional = $depth > ($dropped < 0 ? 1 : 0);
    if (defined $header) {
      if ($only_included) {
        $text .= text_of($header, 0);
      } elsif ($conditional) {
        $before .= text_of($header, 1);
        $block .= text_of($header, 0);
      } else {
        $text .= text_of($header, 0);
      }
      next;
    }
    next if $only_included;
    if ($conditional || $block ne '') {
      $block .= $line;
      if (!$conditional) {
        $text .= $before . $block;
        ($before, $block) = ('', '');
      }
    } else {
      $text .= $line;
    }
  }
  return $text . $before . $block;
}

my $body = text_of(realpath("$root/preheat.hpp"), 0);
my ($version) = join('.', $body =~ /#define PREHEAT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)/g);
print <<"TEXT";
// preheat $version in one header: the library without files. MIT licence. C++20 and Eigen 3.4 are needed; with
// -DPREHEAT_SYSTEM_BLAS=1 and -lopenblas it takes the system's BLAS and LAPACK. Made by `./run single-header`.
#pragma once
#if defined(PREHEAT_KERNELS)
#error "preheat_all.hpp has no compiled part: leave PREHEAT_KERNELS undefined"
#endif
TEXT
print $body;
