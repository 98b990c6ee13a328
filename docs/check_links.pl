#!/usr/bin/perl
# Checks the links within the pages of a folder: every file and every anchor that an href or a src names exists. Links to
# other sites are not followed.
use strict;
use warnings;

my $folder = $ARGV[0] // die "usage: check_links.pl FOLDER\n";
chdir $folder or die "$folder: $!\n";
my (%anchors, %links);
for my $page (glob '*.html') {
  open my $in, '<', $page or die "$page: $!\n";
  local $/;
  my $text = <$in>;
  $text =~ s/<script\b.*?<\/script>//gs;
  $anchors{$page}{$1} = 1 while $text =~ /\b(?:id|name)="([^"]+)"/g;
  $links{$page}{$1} = 1 while $text =~ /\b(?:href|src)="([^"]+)"/g;
}
my ($count, @dead) = (0);
for my $page (sort keys %links) {
  for my $link (sort keys %{$links{$page}}) {
    next if $link =~ /^(?:[a-z]+:|\/\/)/;
    $count++;
    my ($file, $anchor) = $link =~ /^([^#?]*)(?:\?[^#]*)?(?:#(.*))?$/;
    $file = $page if $file eq '';
    if (!-e $file) {
      push @dead, "$page: no file $link";
    } elsif (defined $anchor && $anchor ne '' && exists $anchors{$file} && !$anchors{$file}{$anchor}) {
      push @dead, "$page: no anchor $link";
    }
  }
}
print STDERR map { "$_\n" } @dead;
die scalar(@dead) . " of $count links are dead\n" if @dead;
print scalar(keys %links) . " pages, $count links within them: none is dead\n";
