#!/usr/bin/perl
# site_links.pl HTML TREE: what Doxygen leaves of links in our pages becomes links within the site. A file of the tree is copied
# beside the pages, another page with an anchor becomes that page, and the index of nested classes, whose anchor
# Doxygen does not write, becomes plain text.
use strict;
use warnings;
use File::Basename;
use File::Copy;
use File::Path 'make_path';

my ($html, $tree) = @ARGV;
sub copied {
  my ($file) = @_;
  make_path(dirname("$html/files/$file"));
  copy("$tree/$file", "$html/files/$file") or die "$tree/$file: $!\n";
  return "files/$file";
}
for my $page (glob "$html/*.html") {
  open my $in, '<', $page or die "$page: $!\n";
  my $text = do { local $/; <$in> };
  close $in;
  my $before = $text;
  $text =~ s{href="#nested-classes"}{}g;
  $text =~ s{href="([^"#:]+?)(#[^"]*)?"}{
    my ($file, $anchor) = ($1, $2 // '');
    (my $name = $file) =~ s/^\.\.\///;
    my ($target) = $name =~ /^(?:docs\/)?([\w-]+)\.md$/ ? glob("$html/md_*docs_$1.html") : ();
    -e "$html/$file" ? qq{href="$file$anchor"}
      : $target ? 'href="' . basename($target) . '"'
      : -f "$tree/docs/$file" ? 'href="' . copied("docs/$file") . '"'
      : -f "$tree/$name" ? 'href="' . copied($name) . '"'
      : qq{href="$file$anchor"};
  }ge;
  next if $text eq $before;
  open my $out, '>', $page or die "$page: $!\n";
  print $out $text;
}
