#!/usr/bin/perl
# Doxygen's input filter: shows it our plain // comments. No line is added or removed.
#
#   // at the top of a file            becomes the file's text, and in the folders of the policies that of
#                                      every class and alias without a comment of its own
#   // above a declaration             becomes its text
#   // after a member                  becomes its text
#   lines indented by three or more    become a formula, a code listing or a table: see block()
# Comments inside function bodies stay comments.
use strict;
use warnings;
use utf8;
binmode STDOUT, ':utf8';

my $path = $ARGV[0];
open my $in, '<:utf8', $path or die "$path: $!";
chomp(my @lines = <$in>);
$path =~ s|.*include/||;

# Unicode mathematics to TeX; MathJax knows the rest of the characters.
my %tex = ('·' => '\cdot ', '×' => '\times ', '←' => '\leftarrow ', '→' => '\to ', '≤' => '\le ',
  '≥' => '\ge ', '≠' => '\ne ', '≈' => '\approx ', '∈' => '\in ', '−' => '-', '½' => '\tfrac{1}{2}',
  '‖' => '\|', 'Σ' => '\sum ', '∂' => '\partial ', '∇' => '\nabla ', '∞' => '\infty ', '…' => '\dots ',
  'Δ' => '\Delta ', 'Ω' => '\Omega ', 'α' => '\alpha ', 'β' => '\beta ', 'γ' => '\gamma ',
  'δ' => '\delta ', 'ε' => '\varepsilon ', 'η' => '\eta ', 'λ' => '\lambda ', 'μ' => '\mu ',
  'π' => '\pi ', 'ρ' => '\rho ', 'σ' => '\sigma ', 'τ' => '\tau ', 'φ' => '\varphi ', 'ω' => '\omega ');
my %raised = ('ᵀ' => '\top ', '⁺' => '+', '⁻' => '-', '⁰' => 0, '¹' => 1, '²' => 2, '³' => 3, '⁴' => 4,
  'ᵗ' => 't', 'ᵏ' => 'k', 'ⁱ' => 'i', 'ⁿ' => 'n');
my %lowered = ('₀' => 0, '₁' => 1, '₂' => 2, '₃' => 3, 'ᵢ' => 'i', 'ⱼ' => 'j', 'ₖ' => 'k', 'ᵣ' => 'r', 'ₜ' => 't');
my ($up, $down, $math) = map { my %h = %$_; '[' . join('', sort keys %h) . ']' } \%raised, \%lowered, \%tex;
my $group = qr/(\((?:[^()]++|(?1))*\))/;  # balanced parentheses

sub formula {
  my ($s) = @_;
  $s =~ s/^ +//;
  $s =~ s/ {2,}/ \\quad /g;
  $s =~ s/([#&%\$])/\\$1/g;
  $s =~ s/(?<![_^])\{([^{}]*)\}/\\{$1\\}/g;
  $s =~ s/√$group/'\sqrt{' . substr($1, 1, -1) . '}'/ge;
  $s =~ s/√(\w\x{302}?)/\\sqrt{$1}/g;
  $s =~ s/(\w)\x{302}/\\hat{$1}/g;
  $s =~ s/(?<![\\\w])([a-z]{2,}(?: [a-z]+)*)\b(?!\{)/\\text{$1}/gi;  # words
  $s =~ s/(?<=[\w)]) (?=\\text)/\\ /g;
  $s =~ s/_\\text\{(\w+)\}/_{$1}/g;
  $s =~ s/\+=/\\mathrel{+}=/g;
  $s =~ s/_(\w+)/_{$1}/g;
  $s =~ s/($up+)/'^{' . join('', map { $raised{$_} } split(m{}, $1)) . '}'/ge;
  $s =~ s/($down+)/'_{' . join('', map { $lowered{$_} } split(m{}, $1)) . '}'/ge;
  $s =~ s/($math)/$tex{$1}/g;
  return $s;
}

# An indented block: code if it looks like code, else formulas unless it is prose or a table.
sub block {
  my @block = @_;
  my $text = join("\n", @block);
  my ($open, $close, @body) = ('\verbatim', '\endverbatim', @block);
  if ($text =~ /[;{}]\s*(\/\/.*)?$|::|^\s*#include/m) {
    ($open, $close) = ('\code{.cpp}', '\endcode');
  } elsif ($text =~ /$math|$up/ && $text !~ /(\b[a-z]{3,}[^\w\n]+){4}/i && $text !~ /\w\.\s/) {
    ($open, $close) = ('\f[\begin{array}{l}', '\end{array}\f]');
    @body = map { formula($_) } @block;
    $body[$_] .= ' \\\\' for 0 .. $#body - 1;
  }
  $body[-1] .= " $close";
  return ($open, @body);
}

# A comment's lines without their slashes, for Doxygen.
sub comment {
  my @text = @_;
  my @done;
  while (@text) {
    my $list = 0;  # an indented line that goes on with a list's point is no block
    while (@text && ($text[0] !~ /^ {3}/ || $list)) {
      my $line = shift @text;
      $list = $line =~ /^ ?([-*]|\d+\.) / || $list && $line =~ /^ {2}/;
      push @done, escape($line);
    }
    my @block;
    push @block, shift @text while @text && ($text[0] =~ /^ {3}/ ||
      @block && @text > 1 && $text[0] !~ /\S/ && $text[1] =~ /^ {3}/);
    next unless @block;
    my ($open, @body) = block(@block);
    if (@done) {
      $done[-1] .= " $open";
    } else {
      $body[0] = "$open $body[0]";
    }
    push @done, @body;
  }
  return @done;
}

# What Doxygen would take for a command, outside of `code`; commands that we do write stay.
sub escape {
  my ($line) = @_;
  my @parts = split /(`[^`]*`|\\f\$.*?\\f\$)/, $line, -1;
  for (@parts) {
    next if /^\\f/ || /^`/ && !/::/;
    my $code = s/^`(.*)`$/$1/;  # a qualified name: Doxygen would insist on a link
    s/([<>@#%&])/\\$1/g;
    s/::/\\::/g if $code;
    $_ = "<code>$_</code>" if $code;
    s/\*/\\*/g unless /^ ?\* /;
  }
  return join '', @parts;
}

# For each line whether it begins inside a function body (or a concept or an initializer).
my (@inside, @stack);
my $statement = '';
for my $line (@lines) {
  push @inside, scalar(grep { $_ eq 'body' } @stack);
  (my $code = $line) =~ s/"(\\.|[^"\\])*"|'(\\.|[^'\\])'|\/\/.*//g;
  next if $code =~ /^\s*#/;
  for my $c (split m{([{};])}, $code) {
    if ($c eq '{') {
      push @stack, $statement =~ /\b(namespace|class|struct|union|enum|extern)\b/ &&
        $statement !~ /\)\s*(const|noexcept|->.*)*\s*$|\bconcept\b|=\s*$/ ? 'scope' : 'body';
      $statement = '';
    } elsif ($c eq '}') {
      pop @stack;
      $statement = '';
    } elsif ($c eq ';') {
      $statement = '';
    } else {
      $statement .= "$c ";
    }
  }
}

my $documented = 0;
my $i = 0;
while ($i < @lines) {
  my $line = $lines[$i];
  if ($line =~ m|^(\s*)//(?!/)| && !$inside[$i]) {
    my $indent = $1;
    my $first = $i;
    my @text;
    while ($i < @lines && $lines[$i] =~ m|^\s*//(.*)|) {
      push @text, $1;
      $i++;
    }
    if (@text == 1 && $text[0] =~ /^ -{5,}/) {  # a rule between sections
      print "$line\n";
      next;
    }
    my $file = $first == 0 ? " \\file $path" : '';
    print "$indent/**$file", join("\n", comment(@text)), " */\n";
    $documented = 1;
    next;
  }
  if ($path =~ m{/(adapter|init|optim|rank|chain|nn)/} && $line =~ /^(template|struct|class|using)\b/ &&
      !$documented && !$inside[$i] && $lines[0] =~ m|^//|) {
    my $j = $i;
    $j++ while $j < $#lines && $lines[$j] !~ /[{;]/;
    if (join(' ', @lines[$i .. $j]) =~ /\b(struct|class) (?!\w+_kernel)\w+[^;<>=()]*\{|\busing \w+ =/) {
      print "/** \\copydoc $path */ ";
      $documented = 1;
    }
  }
  $line =~ s|([;,{])(\s+)// (.*)|"$1$2/**< " . escape($3) . " */"|e if !$inside[$i] && $line !~ /\(.*\)\s*\{/;
  print "$line\n";
  $documented = ($line !~ /\S/) ? 0 : $documented && $line =~ /^\s*template\b/;
  $i++;
}
