"""What is looked at: faces, films, their landmarks and classes, read once and kept in a cache.

pictures   uint8 and [-1, 1], reading and JPEG       film       frames of one speaking person
faces      faces and attributes, by mini-batch       footage    a video file, cropped to the face
celeba     the CelebA folder and its split           landmarks  68 points: finding, reading, drawing
parsed     faces with the class of every pixel       movies     decoding and writing of videos
drawn      procedural faces and their film           cache, files   what is kept on the disk
"""
