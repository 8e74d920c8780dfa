"""Color tables: 256 RGB triples each, in base64.

Sampled once at i / 255 from matplotlib's tables. viridis and inferno: S. van der Walt and N. Smith, CC0.
turbo: Anton Mikhailov, Google, Apache-2.0. jet: matplotlib (BSD-style licence).

diverging is our own: from blue through white to orange in CIELAB, safe for color-blind readers. Row r is
v = (r - 128) / 127.5; both sides have lightness L = 97.1 - 44.1 |v| and chroma C = 68 |v|^0.85. The hue runs from 78
to 50 degrees (orange) for positive v and from 255 to 285 (blue) for negative v.
"""

BASE64 = {
    "turbo": (
        "MBI7MhVDMxhKNBtRNR5YNiFfNyRmOCdtOSpzOi15Oy+APDKGPTWLPjiRPzuXPz6cQECiQUOnQUasQkmxQku1Q066RFG/RFTD"
        "RFbHRVnLRVzPRV7TRmHWRmTaRmbdRmngRmvjR27mR3HpR3PrR3buR3jwR3vyRn30RoD2RoL4RoX6Rof7RYr8RYz9RI/+Q5H+"
        "QpT/QZb/QJn/Ppv+PZ7+O6D9OqP8OKX7N6j6Nav4M633Ma/1L7L0LrTyLLfwKrnuKLzrJ77pJcDnI8PkIsXiIMffH8ndHsva"
        "HM3YG9DVGtLSGtTQGdXNGNfKGNnIGNvFGN3CGN7AGOC9GeK7GeO5GuS2HOa0HeeyH+mvIOqsIuuqJeynJ+6kKu+hLPCeL/Gb"
        "MvKYNfOUOPSRPPWOP/aKQ/eHRviESviATvl9Uvp6Vfp2WftzXfxvYfxsZf1paf1mbf5icf5fdf5cef5Zff9WgP9ThP9RiP9O"
        "i/9Lj/9Jkv9Hlv5Emf5CnP5An/0/of09pPw8p/w6qfs5rPs4r/o3sfk2tPg2t/c1ufY1vPU0vvQ0wfM0w/E0xvA0yO80y+00"
        "zew00Oo00uk11Oc11+U12eQ22+I23eA339834d0349s45dk459c56dU569M57NE67s8678068cs68sk69Mc69cU69sM698E6"
        "+L45+bw5+ro5+7g4+7Y3/LM2/LE2/a41/aw0/qkz/qcy/qQx/qEw/p4v/pst/pks/pYr/pMq/pAp/Y0n/Yom/Icl/IQj+4Ei"
        "+34h+nsf+Xge+XUd+HIc928a9mwZ9WkY9GYX82MV8mAU8V0T8FsS71gR7VUQ7FMP61AO6k4N6EsM50kM5UcL5EUK4kMK4UEJ"
        "3z8I3T0I3DsH2jkH2DcG1jUG1DMF0jEF0C8Fzi0EzCsEyioEyCgDxSYDwyUDwSMCviECvCACuR4Ctx0CtBsBshoBrxgBrBcB"
        "qRYBpxQBpBMBoRIBnhABmw8BmA4BlQ0BkgsBjgoBiwkCiAgChQcCgQYCfgUCegQD"
    ),
    "viridis": (
        "RAFURAJWRQRXRQVZRgdaRghcRgpdRgteRw1gRw5hRxBjRxFkRxNlSBRnSBZoSBdpSBhqSBpsSBttSBxuSB1vSB9wSCBxSCFz"
        "SCN0SCR1SCV2SCZ3SCh4SCl5Ryp6Ryx6Ry17Ry58Ry99RjB+RjJ+RjN/RjSARTWBRTeBRTiCRDmDRDqDRDuEQz2EQz6FQj+F"
        "QkCGQkGGQUKHQUSHQEWIQEaIP0eIP0iJPkmJPkqJPkyKPU2KPU6KPE+KPFCLO1GLO1KLOlOLOlSMOVWMOVaMOFiMOFmMN1qM"
        "N1uNNlyNNl2NNV6NNV+NNGCNNGGNM2KNM2ONMmSOMmWOMWaOMWeOMWiOMGmOMGqOL2uOL2yOLm2OLm6OLm+OLXCOLXGOLHGO"
        "LHKOLHOOK3SOK3WOKnaOKneOKniOKXmOKXqOKXuOKHyOKH2OJ36OJ3+OJ4COJoGOJoKOJoKOJYOOJYSOJYWOJIaOJIeOI4iO"
        "I4mOI4qNIouNIoyNIo2NIY6NIY+NIZCNIZGMIJKMIJKMIJOMH5SMH5WLH5aLH5eLH5iLH5mKH5qKHpuKHpyJHp2JH56JH5+I"
        "H6CIH6GIH6GHH6KHIKOGIKSGIaWFIaaFIqeFIqiEI6mDJKqDJauCJayCJq2BJ62BKK6AKa9/KrB/LLF+LbJ9LrN8L7R8MbV7"
        "MrZ6NLZ5Nbd5N7h4OLl3Orp2O7t1Pbx0P7xzQL1yQr5xRL9wRsBvSMFuSsFtTMJsTsNrUMRqUsVpVMVoVsZnWMdlWshkXMhj"
        "XsliYMpgY8tfZcteZ8xcac1bbM1abs5YcM9Xc9BWddBUd9FTetFRfNJQf9NOgdNNhNRLhtVJidVIi9ZGjtZFkNdDk9dBldhA"
        "mNg+m9k8ndk7oNo5oto3pds2qNs0qtwyrdwwsN0vst0ttd4ruN4put4ovd8mwN8lwt8jxeAhyOAgyuEfzeEd0OEc0uIb1eIa"
        "2OIZ2uMZ3eMY3+MY4uQY5eQZ5+QZ6uUa7OUb7+Uc8eUd9OYe9uYg+OYh++cj/ecl"
    ),
    "inferno": (
        "AAAEAQAFAQEGAQEIAgEKAgIMAgIOAwIQBAMSBAMUBQQXBgQZBwUbCAUdCQYfCgciCwckDAgmDQgpDgkrEAktEQowEgoyFAs0"
        "FQs3Fgs5GAw8GQw+GwxBHAxDHgxFHwxIIQxKIwxMJAxPJgxRKAtTKQtVKwtXLQtZLwpbMQpcMgpeNApfNglhOAliOQljOwlk"
        "PQllPglmQApnQgpoRApoRQppRwtqSQtqSgxrTAxrTQ1sTw1sUQ5sUg5tVA9tVQ9tVxBuWRBuWhFuXBJuXRJuXxNuYRNuYhRu"
        "ZBVuZRVuZxZuaRZuahdubBhubRhubxlucRluchpudBpudRtudxxteBxteh1tfB1tfR5tfx5sgB9sgiBshCBrhSFrhyFriCJq"
        "iiJqjCNpjSNpjyRpkCVokiVokyZnlSZnlydmmCdmmihlmylknSlknypjoCpjoitioyxhpSxgpi1gqC5fqS5eqy9erTBdrjBc"
        "sDFbsTJaszJatDNZtjRYtzVXuTVWujZVvDdUvThTvzlSwDpRwTpQwztPxDxOxj1Nxz5MyD9LykBKy0FJzEJIzkNHz0RG0EVF"
        "0kZE00dD1EhC1UpB10s/2Ew+2U092k4821A73VE63lI431M34FU24VY14lc041kz5Fox5Vww5l0v514u6GAt6WEr6mMq62Qp"
        "62Yo7Gcm7Wkl7mok72wj724h8G8g8XEf8XMd8nQc83Yb83gZ9HkY9XsX9X0V9n4U9oAT94IS94QQ+IUP+IcO+IkM+YsL+YwK"
        "+Y4J+pAI+pIH+pQH+5YG+5cG+5kG+5sG+50H/J8H/KEI/KMJ/KUK/KYM/KgN/KoP/KwR/K4S/LAU/LIW/LQY+7Ya+7gd+7of"
        "+7wh+74j+sAm+sIo+sQq+sYt+ccv+cky+cs1+M03+M8699E999NA9tVD9tdG9dlJ9dtM9N1P9N9T9OFW8+Na8+Vd8uZh8uhl"
        "8upp8ext8e1x8e918fF58vJ98vSC8/WG8/aK9PiO9fmS9vqW+Pua+fyd+v2h/P+k"
    ),
    "jet": (
        "AACAAACEAACJAACNAACSAACWAACbAACfAACkAACoAACtAACyAAC2AAC7AAC/AADEAADIAADNAADRAADWAADaAADfAADjAADo"
        "AADtAADxAAD2AAD6AAD/AAD/AAD/AAD/AAH/AAT/AAn/AA3/ABH/ABT/ABn/AB3/ACH/ACT/ACn/AC3/ADH/ADT/ADn/AD3/"
        "AEH/AET/AEn/AE3/AFH/AFT/AFn/AF3/AGH/AGT/AGn/AG3/AHH/AHT/AHn/AH3/AIH/AIX/AIj/AI3/AJH/AJX/AJn/AJ3/"
        "AKH/AKX/AKj/AK3/ALH/ALX/ALn/AL3/AMH/AMX/AMj/AM3/ANH/ANX/ANn/AN3+AOH7AOX4Auj0Bu3xCfHuDPXrD/nnE/3k"
        "Fv/hGf/eHP/bH//XI//UJv/RKf/OLP/KMP/HM//ENv/BOf++PP+6QP+3Q/+0Rv+xSf+tTf+qUP+nU/+kVv+gWv+dXf+aYP+X"
        "Y/+UZv+Qav+Nbf+KcP+Hc/+Dd/+Aev99ff96gP93g/9zh/9wiv9tjf9qkP9mlP9jl/9gmv9dnf9aoP9WpP9Tp/9Qqv9Nrf9J"
        "sf9GtP9Dt/9Auv88vv85wf82xP8zx/8wyv8szv8p0f8m1P8j1/8f2/8c3v8Z4f8W5P8T5/8P6/8M7v8J8fwG9PgC+PUA+/EA"
        "/u0A/+oA/+YA/+IA/94A/9sA/9cA/9MA/9AA/8wA/8gA/8QA/8EA/70A/7kA/7YA/7IA/64A/6sA/6cA/6MA/58A/5wA/5gA"
        "/5QA/5EA/40A/4kA/4YA/4IA/34A/3oA/3cA/3MA/28A/2wA/2gA/2QA/2AA/10A/1kA/1UA/1IA/04A/0oA/0cA/0MA/z8A"
        "/zsA/zgA/zQA/zAA/y0A/ykA/yUA/yIA/x4A/xoA/xYA/xMA+g8A9gsA8QgA7QQA6AAA5AAA3wAA2gAA1gAA0QAAzQAAyAAA"
        "xAAAvwAAuwAAtgAAsgAArQAAqAAApAAAnwAAmwAAlgAAkgAAjQAAiQAAhAAAgAAA"
    ),
    "diverging": (
        "JnzxJ3zxKX3xK37xLH/yLoDyMIHyMYLzM4PzNYTzNoX0OIb0OYj0O4n1PIr1Pov1QIz1QY32Q472RI/2RpD3R5H3SZL3SpP3TJT3"
        "TZX4T5b4UJf4Upj4U5n5VZr5Vpv5WJz5WZ35W576XJ/6XaD6X6H6YKL6YqP7Y6T7ZaX7Zqb7aKf7aaj7a6n8bKr8bqv8b6z8ca38"
        "cq78dK/8dbD9d7H9eLL9erP9e7T9fbX9frb9gLf9gbj9g7n+hLr+hrv+h7z+ib3+ir7+jL/+jsD+j8H+kcL+ksP+lMT+lcX+l8b+"
        "mMf+msj+nMj+ncn+n8r+oMv+osz+pM3+pc7+p8/+qND+qtH+rNL+rdP+r9T+sdX+stb+tNf+ttj+t9n+udr+u9r+vNv+vtz+wN3+"
        "wd7+w9/+xeD+x+H+yOL9yuP9zOT9zuX9z+X90eb90+f91ej91+n82Or82uv83Oz83u384O374u775O/75vD76PH66vL67PP67vP5"
        "8PT58vX49Pb49/f39/X09/Tx9/Pu9/Ls9/Hq9/Dn9+7l9+3j9+zh9+ve9+rc9+na9ujY9ubW9uXU9uTS9uPP9uLN9eHL9d/J9d7H"
        "9d3F9dzD9NvB9Nq/9Nm+9Ne889a689W489S289O08tKy8tCw8s+u8s6t8c2r8cyp8cun8cml8Mij8Mei8Mag78We78Sc78Kb78GZ"
        "7sCX7r+V7r6U7b2S7buQ7bqO7bmN7LiL7LeJ7LWI67SG67OE67KD6rGB6q+A6q5+6a186ax76at56Kl46Kh26Kd056Zz56Vx56Nw"
        "5qJu5qFt5qBr5Z9q5Z1o5Zxn5Jtl5Jpk5Jli45dh45Zf4pVe4pRc4pJb4ZFZ4ZBY4Y9X4I1V4IxU4ItS34pR34hQ3odO3oZN3oVL"
        "3YNK3YJJ3IFH3IBG3H5F231D23xC2npB2nk/2ng+2Xc92XU72HQ62HM52HE413A212811m001mwy1Wsx1Wkw1Wgv1Gcu1GUs02Qr"
        "02Iq0mEp0mAn0l4m0V0l0Vsk"
    ),
}
